// The client's side of alerts.v1: one WebSocket that resumes where it was, notices every gap, and
// keeps a map of alerts equal to the server's. Knows nothing of the page.
//
// The happy path: hello → welcome → snapshot or replay → live → events and heartbeats. A frame that
// does not follow the last one, a heartbeat that counts otherwise, or 12 s of silence end the
// connection; the next one resumes at the offset reached. Close codes 44xx wait for the user.

const SILENCE_MS = 12_000;
const STEADY_MS = 60_000; // Live this long, the back-off starts anew.
const BACKOFF_MAX_MS = 30_000;
const POSITION_MS = 30_000;
const CMD_MAX = 64; // Commands that wait for their answer.

const flagKey = (flag) => `${flag.name} ${flag.class ?? ''}`;

export class AlertStream extends EventTarget {
  alerts = new Map(); // By id, each as the server sent it last.
  flags = new Map();
  state = 'connecting'; // connecting, catching_up, live, waiting, stopped
  reason = '';
  retryAt = 0; // When the next attempt starts, while waiting.
  heardAt = 0; // The last frame of any kind.
  checkedAt = 0; // The last moment at which the server said that this view is whole.

  #url;
  #client;
  #socket = null;
  #epoch = null;
  #off = null;
  #staging = null;
  #attempt = 0;
  #liveAt = 0;
  #timers = new Set();
  #pending = new Map(); // id → {frame, done}
  #nextId = 1;
  #wantsTicket = false;
  #silence = 0;
  #hint = null; // What a bye asked us to wait.

  constructor(url, client) {
    super();
    this.#url = url;
    this.#client = client;
  }

  start() {
    this.#open();
  }

  /** Tries again at once: the user asked, or the network is back. */
  retry() {
    if (this.state !== 'waiting' && this.state !== 'stopped') return;
    this.#attempt = 0;
    this.#open();
  }

  /** Sends a command and resolves with its result, whatever connections it takes: the key makes it count once. */
  command(op, args) {
    if (this.#pending.size >= CMD_MAX) return Promise.resolve({ ok: false, err: { msg: 'too many commands wait for an answer' } });
    const id = ++this.#nextId;
    const frame = { t: 'cmd', id, key: `dash-${crypto.getRandomValues(new Uint32Array(4)).join('-')}`, op, args };
    return new Promise((done) => {
      this.#pending.set(id, { frame, done });
      if (this.state === 'live') this.#send(frame);
    });
  }

  #open() {
    this.#clearTimers();
    this.#move('connecting');
    this.#staging = null;
    const socket = new WebSocket(this.#url, ['alerts.v1']);
    this.#socket = socket;
    // A socket that was given up may still speak: only the current one is heard.
    const mine = (handle) => (event) => this.#socket === socket && handle(event);
    socket.onopen = mine(() => this.#hello());
    socket.onmessage = mine((event) => this.#receive(event.data));
    socket.onclose = mine((event) => this.#lost(event.code, event.reason));
    this.#heard();
  }

  async #hello() {
    const hello = { t: 'hello', id: 1, client: this.#client, sub: { sev: 'info', class: ['*'] } };
    if (this.#epoch !== null) hello.resume = { epoch: this.#epoch, off: this.#off };
    if (this.#wantsTicket) {
      const socket = this.#socket;
      try {
        const answer = await fetch('api/v1/ws-ticket', { method: 'POST' });
        if (answer.ok) hello.ticket = (await answer.json()).ticket;
      } catch {
        // Without a ticket the server refuses, and says why.
      }
      if (this.#socket !== socket) return;
    }
    this.#send(hello);
  }

  #receive(text) {
    this.#heard();
    let frame;
    try {
      frame = JSON.parse(text);
    } catch {
      this.#giveUp(4010, 'a frame was not JSON');
      return;
    }
    this.#on[frame.t]?.(frame);
  }

  #on = {
    welcome: (frame) => {
      this.#wantsTicket = false;
      if (frame.mode === 'replay') this.#epoch = frame.epoch;
      this.#move('catching_up');
    },
    snap_begin: (frame) => {
      const flags = (frame.flags ?? []).filter((flag) => flag.value !== false);
      this.#staging = { epoch: frame.epoch, alerts: new Map(), flags: new Map(flags.map((flag) => [flagKey(flag), flag])) };
    },
    snap: (frame) => {
      for (const alert of frame.alerts ?? []) this.#staging?.alerts.set(alert.id, alert);
    },
    snap_end: (frame) => {
      if (!this.#staging) return this.#giveUp(4010, 'a snapshot ended that had not begun');
      this.#epoch = this.#staging.epoch;
      this.#off = frame.off;
      this.alerts = this.#staging.alerts;
      this.flags = this.#staging.flags;
      this.#staging = null;
      this.#changed({ kind: 'snapshot' });
    },
    live: () => {
      this.#liveAt = performance.now();
      this.checkedAt = Date.now();
      this.#move('live');
      for (const { frame } of this.#pending.values()) this.#send(frame);
      this.#every(POSITION_MS, () => this.#send({ t: 'pos', off: this.#off }));
    },
    ev: (frame) => {
      if (!this.#follows(frame)) return;
      this.checkedAt = Date.now();
      if (this.#apply(frame.alert)) this.#changed({ kind: frame.kind, alert: frame.alert, replay: frame.replay === true, ts: frame.ts });
    },
    flag: (frame) => {
      if (!this.#follows(frame)) return;
      if (frame.value) this.flags.set(flagKey(frame), frame);
      else this.flags.delete(flagKey(frame));
      this.#changed({ kind: 'flag' });
    },
    hb: (frame) => {
      if (this.state !== 'live') return;
      // Frames arrive in order, so at a heartbeat nothing is in flight.
      if (frame.epoch !== this.#epoch || frame.sent !== this.#off) this.#giveUp(4010, 'the server counts other events');
      else this.checkedAt = Date.now();
    },
    res: (frame) => {
      const waiting = this.#pending.get(frame.re);
      if (frame.alert && this.#apply(frame.alert)) this.#changed({ kind: 'res', alert: frame.alert });
      if (!waiting) return;
      if (!frame.ok && frame.err?.retry) {
        this.#after(frame.err.retry_after_ms ?? 1000, () => this.state === 'live' && this.#send(waiting.frame));
        return;
      }
      this.#pending.delete(frame.re);
      waiting.done(frame);
    },
    err: (frame) => {
      if (!frame.retry) return;
      this.#after(frame.retry_after_ms ?? 1500, () => {
        for (const { frame: cmd } of this.#pending.values()) if (this.state === 'live') this.#send(cmd);
      });
    },
    bye: (frame) => {
      this.#hint = Array.isArray(frame.reconnect_ms) ? frame.reconnect_ms : null;
    },
  };

  /** Whether a frame of the stream is the next one; moves on if so, and resumes if one is missing. */
  #follows(frame) {
    const mine = this.#off;
    if (frame.off <= mine) return false;
    if (frame.prev !== mine && !(frame.prev < mine && mine < frame.off)) {
      this.#giveUp(4010, `events after ${mine} are missing`);
      return false;
    }
    this.#off = frame.off;
    return true;
  }

  #apply(alert) {
    const old = this.alerts.get(alert.id);
    if (old && alert.ver <= old.ver) return false;
    this.alerts.set(alert.id, alert);
    return true;
  }

  #send(frame) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(frame));
  }

  #heard() {
    this.heardAt = Date.now();
    if (this.#silence) this.#cancel(this.#silence);
    this.#silence = this.#after(SILENCE_MS, () => this.#giveUp(4000, 'nothing heard for 12 s'));
  }

  #giveUp(code, why) {
    const socket = this.#socket;
    this.#socket = null; // Deaf to it from now on: a dead peer would keep it closing for long.
    try {
      socket?.close(code, why.slice(0, 100));
    } catch {
      // Closed already.
    }
    this.#lost(code, why);
  }

  #lost(code, why) {
    const steady = this.state === 'live' && performance.now() - this.#liveAt > STEADY_MS;
    this.#socket = null;
    this.#clearTimers();
    if (steady) this.#attempt = 0;
    if (code === 4401 && !this.#wantsTicket) this.#wantsTicket = true; // Once with a ticket before it is the user's turn.
    else if (code >= 4400 && code < 4500) {
      this.#move('stopped', why || `the server refused (${code})`);
      return;
    }
    let wait = this.#attempt === 0 ? Math.random() * 250 : Math.random() * Math.min(BACKOFF_MAX_MS, 500 * 2 ** this.#attempt);
    if (this.#hint) {
      const [low, high] = this.#hint.map(Number);
      if (low >= 0 && high >= low) wait = Math.min(BACKOFF_MAX_MS, low + Math.random() * (high - low));
      this.#hint = null;
    }
    this.#attempt++;
    this.retryAt = Date.now() + wait;
    this.#move('waiting', why || (code === 1006 ? 'the connection was lost' : `the server closed it (${code})`));
    this.#after(wait, () => this.#open());
  }

  #move(state, reason = '') {
    this.state = state;
    this.reason = reason;
    this.dispatchEvent(new Event('state'));
  }

  #changed(detail) {
    this.dispatchEvent(new CustomEvent('change', { detail }));
  }

  #after(ms, run) {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      run();
    }, ms);
    this.#timers.add(timer);
    return timer;
  }

  #every(ms, run) {
    const again = () => {
      run();
      this.#after(ms, again);
    };
    this.#after(ms, again);
  }

  #cancel(timer) {
    clearTimeout(timer);
    this.#timers.delete(timer);
  }

  #clearTimers() {
    for (const timer of this.#timers) clearTimeout(timer);
    this.#timers.clear();
  }
}
