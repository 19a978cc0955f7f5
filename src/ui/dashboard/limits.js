// The rate limits: for each endpoint whether a request may go now, and if not, why and until when. A
// line keeps its height whatever its state: states change each second.

import { byId, make, put, reconcile, set } from './dom.js';
import { count, rate, span } from './format.js';
import { badge, row, setBadge } from './rows.js';

const LEVEL = { open: 'green', paced: 'green', probe: 'amber', recover: 'amber', backoff: 'amber', penalty: 'amber', disabled: 'red', killed: 'red' };
const COLUMNS = [['name', ''], ['state', ''], ['may', '', 'may'], ['windows', ''], ['requests', 'requests', 'n'], ['throttled', '429', 'n'], ['errors', 'errors', 'n']];

function build(endpoint) {
  const tr = row(endpoint.name, COLUMNS);
  const c = tr.cells_;
  c.name.append(make('span'), make('span', 'sub'));
  c.state.append((tr.badge = badge()));
  c.may.append(make('b', 'num'), make('span', 'sub'));
  c.windows.append((tr.windows = make('ul', 'windows')));
  return tr;
}

function buildWindow() {
  const li = make('li');
  const bar = make('span', 'bar');
  bar.append(make('i'));
  li.append(bar, make('span', 'num'));
  return li;
}

function updateWindow(li, w) {
  const used = w.limit > 0 ? w.used / w.limit : 0;
  set(li, 'data-level', used > 1 ? 'red' : 'green');
  li.firstElementChild.firstElementChild.style.inlineSize = `${Math.min(100, used * 100).toFixed(0)}%`;
  put(li.lastElementChild, `${w.rule} ${count(w.used)}/${count(w.limit)} in ${count(w.period_s)} s`);
  set(li, 'title', `${w.rule}: ${w.limit} in ${w.period_s} s${w.restriction_s ? `, closed for ${w.restriction_s} s when broken` : ''}`);
}

/** 0.8 reads "0.8 a second", 0.05 "1 in 20 s". */
const pace = (perSecond) => (perSecond > 0 && perSecond < 0.5 ? `1 in ${count(1 / perSecond)} s` : `${rate(perSecond)} a second`);

const halted = (endpoint) => endpoint.paused || endpoint.state === 'killed' || endpoint.state === 'disabled';

function update(tr, endpoint) {
  const c = tr.cells_;
  tr.endpoint = endpoint;
  put(c.name.firstElementChild, endpoint.name);
  const policy = endpoint.policy || 'no policy announced';
  put(c.name.lastElementChild, policy);
  set(c.name, 'title', `${policy}; ${endpoint.host ?? ''}`);
  setBadge(tr.badge, endpoint.paused ? 'amber' : (LEVEL[endpoint.state] ?? 'idle'), endpoint.paused ? 'paused' : (endpoint.state ?? 'unknown'));
  set(c.may, 'title', endpoint.reason ?? '');
  const windows = endpoint.windows ?? [];
  reconcile(tr.windows, windows.map((w, i) => ({ ...w, key: `${w.rule} ${w.period_s} ${i}` })), (w) => w.key, buildWindow, updateWindow);
  if (!windows.length) set(tr.windows, 'data-empty', `${pace(endpoint.rate_per_s)}, no window announced`);
  else tr.windows.removeAttribute('data-empty');
  put(c.requests, count(endpoint.requests));
  put(c.throttled, count(endpoint.throttled));
  put(c.errors, count(endpoint.errors));
  set(c.throttled, 'data-level', endpoint.throttled > 0 ? 'amber' : 'idle');
  set(c.errors, 'data-level', endpoint.errors > 0 ? 'amber' : 'idle');
}

/** Why, without the time: that stands above, and ticks. @now: a request may go now. */
function reason(endpoint, now) {
  const text = endpoint.reason ?? '';
  if (!now) return text.replace(/^waits [\d.]+ s:? ?/, '');
  if (text && !/^(waits|may go now)/.test(text)) return text;
  // Work in the background keeps an even pace below what the windows would allow at once.
  return endpoint.waiting > 0 ? `${count(endpoint.waiting)} paced evenly` : 'nothing in the way';
}

function tickRow(tr, now) {
  const { endpoint } = tr;
  // Without a time only a reply can tell, or whoever halted it.
  const unknown = endpoint.wait_ms === null;
  const wait = endpoint.next_ms - now;
  const { firstElementChild: when, lastElementChild: why } = tr.cells_.may;
  put(when, unknown ? (halted(endpoint) ? 'never' : 'after a reply') : wait > 0 ? `in ${span(wait)}` : 'now');
  put(why, reason(endpoint, !unknown && wait <= 0));
}

export function drawLimits(endpoints) {
  reconcile(byId('endpoints'), endpoints, (e) => `${e.name} ${e.host}`, build, update);
  const closed = endpoints.filter((e) => halted(e) || e.state === 'penalty' || e.state === 'backoff').length;
  put(byId('limits-note'), !endpoints.length ? '' : closed ? `${count(closed)} of ${count(endpoints.length)} closed` : `${count(endpoints.length)} endpoints, none closed`);
}

export function tickLimits(now) {
  for (const tr of byId('endpoints').children) tickRow(tr, now);
}
