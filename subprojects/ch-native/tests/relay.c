#include "relay.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static struct sockaddr_in loopback(uint16_t port) {
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static bool write_all(int fd, const char *data, ssize_t n) {
    for (ssize_t wrote; n > 0; data += wrote, n -= wrote)
        if ((wrote = write(fd, data, (size_t)n)) <= 0) return false;
    return true;
}

/* Until one side ends. */
static void pass_on(SSL *ssl, int client, int server) {
    static char bytes[64 << 10];
    struct pollfd fds[2] = {{.fd = client, .events = POLLIN}, {.fd = server, .events = POLLIN}};
    for (;;) {
        if (SSL_pending(ssl) == 0 && poll(fds, server < 0 ? 1 : 2, -1) < 0) return;
        if (SSL_pending(ssl) > 0 || fds[0].revents != 0) {
            int n = SSL_read(ssl, bytes, sizeof bytes);
            if (n <= 0 || (server >= 0 && !write_all(server, bytes, n))) return;
        }
        if (server >= 0 && fds[1].revents != 0) {
            ssize_t n = read(server, bytes, sizeof bytes);
            if (n <= 0) {
                SSL_shutdown(ssl);
                return;
            }
            if (SSL_write(ssl, bytes, (int)n) != n) return;
        }
    }
}

static void serve(SSL_CTX *context, int client, uint16_t to_port) {
    SSL *ssl = SSL_new(context);
    SSL_set_fd(ssl, client);
    if (SSL_accept(ssl) != 1) { /* Unread bytes would make a reset of it, which eats the alert. */
        char bytes[4096];
        shutdown(client, SHUT_WR);
        while (read(client, bytes, sizeof bytes) > 0) continue;
        _exit(1);
    }
    int server = -1;
    if (to_port != 0) {
        struct sockaddr_in to = loopback(to_port);
        server = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(server, (struct sockaddr *)&to, sizeof to) != 0) _exit(1);
    }
    pass_on(ssl, client, server);
    _exit(0);
}

static void listen_on(int listener, const struct relay_options *o) {
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    if (o->version_max != 0) {
        SSL_CTX_set_cipher_list(context, "ALL:@SECLEVEL=0");
        SSL_CTX_set_min_proto_version(context, 0);
        SSL_CTX_set_max_proto_version(context, o->version_max);
    }
    if (SSL_CTX_use_certificate_chain_file(context, o->cert_file) != 1 ||
        SSL_CTX_use_PrivateKey_file(context, o->cert_file, SSL_FILETYPE_PEM) != 1)
        _exit(1);
    if (o->client_ca != NULL) {
        SSL_CTX_load_verify_file(context, o->client_ca);
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    }
    signal(SIGCHLD, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGUSR1, SIG_IGN);
    for (;;) {
        int client = accept(listener, NULL, NULL);
        if (client < 0 && errno != EINTR) _exit(1);
        if (client >= 0 && fork() == 0) {
            signal(SIGUSR1, SIG_DFL);
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            close(listener);
            serve(context, client, o->to_port);
        }
        if (client >= 0) close(client);
    }
}

bool relay__start(struct relay *r, const struct relay_options *options) {
    struct sockaddr_in in = loopback(0);
    socklen_t n = sizeof in;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&in, n) != 0 ||
        getsockname(listener, (struct sockaddr *)&in, &n) != 0 || listen(listener, 64) != 0)
        return false;
    r->port = ntohs(in.sin_port);
    r->pid = fork();
    if (r->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        setpgid(0, 0);
        listen_on(listener, options);
    }
    setpgid(r->pid, r->pid);
    close(listener);
    return r->pid > 0;
}

void relay__cut(const struct relay *r) { kill(-r->pid, SIGUSR1); }

void relay__stop(struct relay *r) {
    if (r->pid <= 0) return;
    kill(-r->pid, SIGKILL);
    waitpid(r->pid, NULL, 0);
    r->pid = 0;
}
