// The list of alerts beside the tables: newest critical first, one card an alert, moved only when
// nobody points at it. Acknowledging and snoozing take one key; both can be taken back on the card.

import { byId, icon, make, put, reconcile, set, setIcon, show } from './dom.js';
import { clock, count, span } from './format.js';

const RANK = { critical: 0, warning: 1, info: 2 };
const ICON = { critical: 'red', warning: 'amber', info: 'info' };
const SNOOZES = [['5 min', 300], ['15 min', 900], ['30 min', 1800], ['1 h', 3600], ['4 h', 14400], ['until 09:00', null]];
const SHOWN_MAX = 200;
const ENDED_SHOWN = 20;
const KNOWN_MS = 12_000; // So long after a check its result stands.
const CRITICAL_EVERY_MS = 10_000;

const firing = (alert) => alert.status === 'firing';
const muted = (alert) => (alert.muted_by ?? []).length > 0;

/** Snoozed until when; 0 when it is not. */
const snoozedUntil = (alert) => alert.snooze?.until_ts ?? 0;

function byUrgency(a, b) {
  return firing(b) - firing(a) || (firing(a) ? (RANK[a.sev] ?? 3) - (RANK[b.sev] ?? 3) : b.last_ts - a.last_ts) || b.first_ts - a.first_ts || (a.id < b.id ? -1 : 1);
}

export class Feed {
  #stream;
  #order = []; // Ids as shown.
  #selected = null;
  #pointed = false;
  #problems = new Map(); // Alert id → why the last command failed.
  #criticalAt = 0;
  #wanted = null; // Of the address.

  constructor(stream) {
    this.#stream = stream;
    const box = byId('alerts');
    box.addEventListener('pointerenter', () => (this.#pointed = true));
    box.addEventListener('pointerleave', () => {
      this.#pointed = false;
      this.draw();
    });
    byId('newer').addEventListener('click', () => {
      this.#pointed = false;
      this.draw();
      byId('feed').firstElementChild?.focus();
    });
    byId('feed').addEventListener('focusin', (event) => this.#select(event.target.closest('li')?.dataset.id, false));
    document.addEventListener('keydown', (event) => this.#key(event));
    stream.addEventListener('change', (event) => this.#announce(event.detail));
    addEventListener('hashchange', () => this.#follow());
    this.#follow();
  }

  /** The alert that the address names, as links of alerts do, comes into view once it is known. */
  #follow() {
    const id = location.hash.slice(1);
    this.#wanted = /^al_\w+$/.test(id) ? id : null;
    this.draw();
  }

  #announce({ kind, alert, replay, ts }) {
    const news = kind === 'created' || kind === 'escalated';
    if (!news || replay || alert.sev !== 'critical' || alert.ack || snoozedUntil(alert) || muted(alert)) return;
    const now = Date.now();
    if (now - ts > 30_000 || now - this.#criticalAt < CRITICAL_EVERY_MS) return;
    this.#criticalAt = now;
    put(byId('announce-critical'), `Critical: ${alert.title}`);
  }

  /** Shows what the stream holds. While somebody points at the list, new cards wait and the rest stays put. */
  draw() {
    const all = [...this.#stream.alerts.values()].sort(byUrgency);
    const open = all.filter(firing);
    const wanted = [...open.slice(0, SHOWN_MAX), ...all.filter((alert) => !firing(alert)).slice(0, ENDED_SHOWN)].map((alert) => alert.id);
    let held = 0;
    if (this.#pointed && this.#order.length) {
      held = wanted.filter((id) => !this.#order.includes(id) && firing(this.#stream.alerts.get(id))).length;
      this.#order = this.#order.filter((id) => this.#stream.alerts.has(id));
    } else {
      this.#order = wanted;
    }
    const shown = this.#order.map((id) => this.#stream.alerts.get(id));
    reconcile(byId('feed'), shown, (alert) => alert.id, (alert) => this.#build(alert), (card, alert) => this.#update(card, alert));
    if (!this.#order.includes(this.#selected)) this.#select(null, false);
    if (this.#wanted && this.#stream.state === 'live') {
      const there = this.#order.includes(this.#wanted);
      if (there) this.#select(this.#wanted, true);
      put(byId('announce'), there ? '' : 'The alert of this address ended long ago.');
      this.#wanted = null;
    }

    const worst = open.find((alert) => !muted(alert));
    show(byId('newer'), held > 0);
    put(byId('newer'), `${held} new`);
    show(byId('firing'), open.length > 0);
    put(byId('firing'), `${count(open.length)} firing`);
    set(byId('firing'), 'data-level', worst ? ICON[worst.sev] : 'idle');
    const nMuted = open.filter(muted).length;
    show(byId('muted'), nMuted > 0);
    put(byId('muted'), `${nMuted} muted`);
    show(byId('quiet'), open.length === 0);
    const hidden = Math.max(0, open.length - SHOWN_MAX);
    const stale = [...this.#stream.flags.values()].map((flag) => `${flag.name.replaceAll('_', ' ')}${flag.class ? `: ${flag.class} alerts are held back` : ''}`);
    const note = [...stale, hidden ? `and ${hidden} more that are not shown` : ''].filter(Boolean).join('; ');
    show(byId('feed-note'), note !== '');
    put(byId('feed-note'), note);
    const critical = open.filter((alert) => alert.sev === 'critical' && !alert.ack && !muted(alert)).length;
    document.title = critical ? `(${critical}) souk: critical` : open.length ? `(${open.length}) souk` : 'souk';
  }

  /** Moves the ages. @now is the server's clock. */
  tick(now) {
    for (const card of byId('feed').children) {
      const { alert } = card;
      const until = snoozedUntil(alert);
      put(card.parts.age, firing(alert) ? `for ${span(now - alert.first_ts)}` : `${alert.status} ${span(now - alert.last_ts)} ago`);
      put(card.parts.seen, `${alert.count > 1 ? `×${count(alert.count)}, ` : ''}last ${span(now - alert.last_ts)} ago`);
      const mark = muted(alert) ? 'muted' : alert.ack ? 'acknowledged' : until > now ? `snoozed for ${span(until - now)}` : '';
      show(card.parts.mark, firing(alert) && mark !== '');
      put(card.parts.mark, mark);
    }
    const checked = this.#stream.checkedAt;
    // Quiet is what the server says, and for as long as it says so.
    const known = checked > 0 && Date.now() - checked < KNOWN_MS;
    set(byId('quiet'), 'data-level', known ? 'green' : 'idle');
    setIcon(byId('quiet-icon'), known ? 'green' : 'idle');
    put(byId('quiet-word'), known ? 'All quiet' : 'Not known');
    put(byId('quiet-text'), checked ? `Last check ${span(Date.now() - checked)} ago` : 'No check yet');
  }

  #build(alert) {
    const card = make('li', 'alert');
    card.dataset.id = alert.id;
    card.tabIndex = -1;
    const parts = (card.parts = {
      icon: icon('info'),
      sev: make('span', 'sev'),
      age: make('span', 'num muted'),
      mark: make('span', 'pill'),
      title: make('h3', 'title'),
      body: make('p', 'body'),
      why: make('ul', 'why num'),
      seen: make('span', 'num muted'),
      help: make('a', 'button', 'What to do'),
      ack: make('button', 'button'),
      snooze: make('select', 'button'),
      wake: make('button', 'button'),
      problem: make('p', 'problem'),
    });
    const head = make('p', 'head');
    head.append(parts.icon, parts.sev, parts.age, parts.mark);
    const foot = make('p', 'foot');
    foot.append(parts.seen, parts.ack, parts.snooze, parts.wake, parts.help);
    parts.title.id = `title-${alert.id}`;
    card.setAttribute('aria-labelledby', parts.title.id);
    parts.ack.type = parts.wake.type = 'button';
    parts.wake.textContent = 'Wake';
    parts.snooze.setAttribute('aria-label', `Snooze ${alert.title}`);
    parts.snooze.append(new Option('Snooze', '', true, true));
    for (const [text, seconds] of SNOOZES) parts.snooze.append(new Option(text, seconds ?? 'morning'));
    parts.ack.addEventListener('click', () => this.#acknowledge(card.alert));
    parts.wake.addEventListener('click', () => this.#command(card.alert, 'unsnooze'));
    parts.snooze.addEventListener('change', () => {
      this.#snooze(card.alert, parts.snooze.value);
      parts.snooze.selectedIndex = 0;
    });
    card.append(head, parts.title, parts.body, parts.why, foot, parts.problem);
    return card;
  }

  #update(card, alert) {
    const { parts } = card;
    card.alert = alert;
    set(card, 'data-level', firing(alert) ? (ICON[alert.sev] ?? 'info') : 'idle');
    card.classList.toggle('calm', !firing(alert) || Boolean(alert.ack) || muted(alert) || snoozedUntil(alert) > 0);
    setIcon(parts.icon, firing(alert) ? (ICON[alert.sev] ?? 'info') : 'green');
    put(parts.sev, firing(alert) ? (alert.sev ?? '') : '');
    put(parts.title, alert.title ?? '');
    const runbook = /^\/(runbook#\w+)$/.exec(alert.links?.runbook ?? '');
    show(parts.help, runbook !== null);
    if (runbook) set(parts.help, 'href', runbook[1]);
    put(parts.body, alert.body ?? '');
    show(parts.body, firing(alert) && Boolean(alert.body));
    const why = firing(alert) ? (alert.why ?? []).slice(0, 8) : [];
    reconcile(parts.why, why.map((reason, i) => ({ ...reason, i })), (reason) => reason.i, () => make('li'), (li, reason) => put(li, `${reason.k} ${reason.val} ${reason.op} ${reason.thr}`));
    show(parts.why, why.length > 0);
    set(card, 'title', `first ${clock(alert.first_ts)}, last ${clock(alert.last_ts)}, ${alert.class ?? ''}`);
    const writable = firing(alert);
    put(parts.ack, alert.ack ? 'Undo' : 'Acknowledge');
    parts.ack.setAttribute('aria-label', `${alert.ack ? 'Undo the acknowledgement of' : 'Acknowledge'} ${alert.title}`);
    const snoozed = snoozedUntil(alert) > 0;
    show(parts.ack, writable);
    show(parts.snooze, writable && !snoozed);
    show(parts.wake, writable && snoozed);
    const problem = this.#problems.get(alert.id);
    show(parts.problem, Boolean(problem));
    put(parts.problem, problem ?? '');
  }

  async #command(alert, op, args = {}) {
    this.#problems.delete(alert.id);
    const result = await this.#stream.command(op, { alert: alert.id, ...args });
    if (!result.ok) this.#problems.set(alert.id, `${op} was refused: ${result.err?.msg ?? result.err?.code ?? 'no reason given'}`);
    this.draw();
    if (result.ok) put(byId('announce'), `${op}: ${alert.title}`);
  }

  #acknowledge(alert) {
    // The version says what was seen: an alert that got worse meanwhile is not acknowledged by mistake.
    return this.#command(alert, alert.ack ? 'unack' : 'ack', { ver: this.#stream.alerts.get(alert.id)?.ver });
  }

  #snooze(alert, value) {
    if (value === 'morning') {
      const nine = new Date();
      nine.setHours(9, 0, 0, 0);
      if (nine <= new Date()) nine.setDate(nine.getDate() + 1);
      return this.#command(alert, 'snooze', { until: nine.getTime() });
    }
    return this.#command(alert, 'snooze', { for_s: Number(value) });
  }

  #select(id, focus) {
    this.#selected = id ?? null;
    for (const card of byId('feed').children) {
      const chosen = card.dataset.id === this.#selected;
      if (chosen) card.setAttribute('aria-current', 'true');
      else card.removeAttribute('aria-current');
      if (chosen && focus) card.focus();
    }
  }

  #key(event) {
    if (event.ctrlKey || event.altKey || event.metaKey || event.target.closest('input, select, textarea')) return;
    const at = this.#order.indexOf(this.#selected);
    const step = { j: 1, k: -1 }[event.key];
    if (step) {
      if (!this.#order.length) return;
      const to = at < 0 ? (step > 0 ? 0 : this.#order.length - 1) : Math.min(this.#order.length - 1, Math.max(0, at + step));
      this.#select(this.#order[to], true);
      event.preventDefault();
      return;
    }
    const alert = this.#stream.alerts.get(this.#selected);
    if (!alert || !firing(alert) || event.repeat) return;
    if (event.key === 'a') this.#acknowledge(alert);
    else if (event.key === 's') this.#snooze(alert, '900');
    else return;
    event.preventDefault();
  }
}
