#include "test_governor_sim.h"
int main(void) { return 0; }
