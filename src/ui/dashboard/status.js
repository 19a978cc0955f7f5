// Draws one answer of /api/v1/status. draw() takes the numbers, tick() moves what changes with time
// alone (ages, countdowns) between two answers.

import { byId, icon, make, put, reconcile, set, setIcon, show, svg } from './dom.js';
import { ago, bytes, count, rate, shorten, span } from './format.js';

const WORDS = { green: 'All well', amber: 'Needs a look', red: 'In trouble' };
const FRESH = { green: 'fresh', amber: 'late', red: 'stale' };
const ENDPOINT_LEVEL = { open: 'green', paced: 'green', probe: 'amber', backoff: 'amber', penalty: 'amber', disabled: 'red' };
const STORE_LEVEL = { connected: 'green', connecting: 'amber', away: 'red', held: 'red' }; // held: it refuses us, and nothing is dropped
const STATES = { live: 'live', caught_up: 'caught up', waiting: 'waiting', seeding: 'seeding', frozen: 'frozen', off: 'off' };

const level = (name) => (name in WORDS ? name : 'idle');

let page = null;

/** Cells of a row, named, so that updates need no queries. */
function row(key, names, numeric) {
  const tr = make('tr');
  tr.cells_ = {};
  names.forEach((name, i) => {
    const cell = make(i === 0 ? 'th' : 'td', numeric.has(name) ? 'n num' : '');
    if (i === 0) cell.scope = 'row';
    tr.cells_[name] = cell;
    tr.append(cell);
  });
  tr.dataset.key = key;
  return tr;
}

function badge() {
  const node = make('span', 'badge');
  node.append(icon('idle'), make('span'));
  return node;
}

function setBadge(node, levelName, text) {
  set(node, 'data-level', levelName);
  setIcon(node.firstElementChild, levelName);
  put(node.lastElementChild, text);
}

// --- Summary, rate, spool, store

function drawSummary() {
  const name = level(page.summary?.level);
  set(byId('summary'), 'data-level', name);
  setIcon(byId('summary-icon'), name);
  put(byId('summary-word'), page.state === 'draining' ? 'Draining before it ends' : page.state === 'starting' ? 'Starting' : (WORDS[name] ?? '–'));
  put(byId('summary-text'), page.summary?.text ?? '');
  put(byId('version'), page.version ?? '');
}

function drawSpark(values, step) {
  const box = byId('spark');
  const width = 300;
  const height = 64;
  const top = Math.max(1, ...values);
  const x = (i) => (values.length > 1 ? (i / (values.length - 1)) * width : width);
  const y = (v) => height - 2 - (v / top) * (height - 8);
  if (!box.firstElementChild) box.append(svg('path', { class: 'area' }), svg('path', { class: 'line', 'vector-effect': 'non-scaling-stroke' }));
  if (values.length < 2) return;
  const line = values.map((v, i) => `${i ? 'L' : 'M'}${x(i).toFixed(1)} ${y(v).toFixed(1)}`).join('');
  set(box.firstElementChild, 'd', `${line}L${width} ${height}L0 ${height}Z`);
  set(box.lastElementChild, 'd', line);
  const minutes = span(values.length * step * 1000);
  put(byId('spark-note'), `last ${minutes}, peak ${count(top)}`);
  set(box, 'aria-label', `Rows a second over the last ${minutes}: least ${count(Math.min(...values))}, most ${count(top)}, now ${count(values.at(-1))}`);
}

function drawRate() {
  const rows = (page.history?.rows_per_s ?? []).filter(Number.isFinite);
  const pages = (page.history?.pages_per_s ?? []).filter(Number.isFinite);
  const now = (page.sources ?? []).reduce((sum, source) => sum + (source.rows_per_s || 0), 0);
  put(byId('rate'), rate(now));
  put(byId('page-rate'), pages.length ? rate(pages.at(-1)) : '–');
  drawSpark(rows, page.history?.step_s ?? 2);
}

function drawSpool(now) {
  const s = page.spool ?? {};
  const used = s.quota_bytes > 0 ? s.bytes / s.quota_bytes : 0;
  const name = s.failed || s.full ? 'red' : used >= 0.8 ? 'amber' : 'green';
  set(byId('spool'), 'data-level', name);
  put(byId('spool-bytes'), bytes(s.bytes));
  put(byId('spool-quota'), bytes(s.quota_bytes));
  show(byId('spool-state'), name !== 'green');
  put(byId('spool-state'), s.failed ? 'failed' : s.full ? 'full' : 'filling up');
  set(byId('spool-meter'), 'aria-valuenow', Math.round(used * 100));
  byId('spool-meter').firstElementChild.style.inlineSize = `${Math.min(100, used * 100).toFixed(1)}%`;
  const waiting = s.unacked_bytes > 0 && s.oldest_unacked_ms > 0 ? `${bytes(s.unacked_bytes)} not stored, oldest ${span(now - s.oldest_unacked_ms)}` : 'all stored';
  put(byId('spool-detail'), waiting);
  put(byId('spool-disk'), `${count(s.segments)} segments, ${bytes(s.disk_free_bytes)} of disk free`);
}

function drawStore(now) {
  const s = page.store ?? {};
  const p = page.process ?? {};
  const name = STORE_LEVEL[s.state] ?? 'idle';
  set(byId('store'), 'data-level', name);
  set(byId('store-state'), 'data-level', name);
  put(byId('store-state'), s.state ?? 'unknown');
  put(byId('store-rate'), rate((s.tables ?? []).reduce((sum, table) => sum + (table.rows_per_s || 0), 0)));
  const since = s.since_ms ? `for ${span(now - s.since_ms)}` : '';
  put(byId('store-detail'), s.state === 'connected' ? `${s.server ?? ''} ${since}` : `${s.last_error || 'not connected'} ${since}`);
  put(byId('process'), `souk: ${((p.cpu_ratio || 0) * 100).toFixed(1)} % CPU, ${bytes(p.rss_bytes)}, lag ${(p.loop_lag_ms ?? 0).toFixed(1)} ms`);
}

// --- Tables

const SOURCE_NUMBERS = new Set(['pages', 'rows', 'rate', 'next']);

function buildSource(source) {
  const tr = row(`${source.name} ${source.stream}`, ['name', 'fresh', 'state', 'cursor', 'pages', 'rows', 'rate', 'next'], SOURCE_NUMBERS);
  const c = tr.cells_;
  c.name.append(make('span'), make('span', 'sub'));
  c.fresh.append((tr.badge = badge()), make('span', 'num age'));
  c.state.append(make('span'), make('span', 'sub'));
  c.cursor.append(make('code'));
  return tr;
}

function updateSource(tr, source) {
  const c = tr.cells_;
  tr.source = source;
  put(c.name.firstElementChild, source.name);
  put(c.name.lastElementChild, source.league && !source.stream?.includes(source.league) ? `${source.stream} · ${source.league}` : (source.stream ?? ''));
  const name = source.state === 'off' ? 'idle' : level(source.level);
  setBadge(tr.badge, name, source.state === 'off' ? 'off' : (FRESH[name] ?? 'unknown'));
  put(c.state.firstElementChild, STATES[source.state] ?? source.state ?? '');
  const trouble = source.reason || (source.level !== 'green' ? source.last_error : '') || '';
  put(c.state.lastElementChild, trouble);
  set(c.state.lastElementChild, 'title', trouble);
  const code = c.cursor.firstElementChild;
  put(code, shorten(source.cursor || '–', 19));
  set(code, 'title', source.cursor || '');
  const p = source.pages ?? {};
  put(c.pages, count(p.new));
  set(c.pages, 'title', `${count(p.new)} new, ${count(p.empty)} empty, ${count(p.unchanged)} unchanged, ${count(p.repeat)} repeated, ${count(p.rewind)} refused as rewinds, ${count(p.invalid)} invalid; ${count(source.errors)} errors${source.last_error ? `, last: ${source.last_error}` : ''}`);
  put(c.rows, count(source.rows));
  put(c.rate, rate(source.rows_per_s));
}

function tickSource(tr, now) {
  const { source } = tr;
  put(tr.cells_.fresh.lastElementChild, source.last_success_ms ? span(now - source.last_success_ms) : 'never');
  const wait = source.next_request_ms - now;
  put(tr.cells_.next, source.state === 'off' || !source.next_request_ms ? '–' : wait > 0 ? `in ${span(wait)}` : 'now');
}

function buildEndpoint(endpoint) {
  const tr = row(endpoint.name, ['name', 'state', 'windows', 'requests', 'throttled', 'errors'], new Set(['requests', 'throttled', 'errors']));
  tr.cells_.name.append(make('span'), make('span', 'sub'));
  tr.cells_.state.append((tr.badge = badge()), make('span', 'sub'));
  tr.cells_.windows.append((tr.windows = make('ul', 'windows')));
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
  set(li, 'title', `${w.rule}: ${w.limit} in ${w.period_s} s${w.restriction_s ? `, ${w.restriction_s} s of restriction when exceeded` : ''}`);
}

function updateEndpoint(tr, endpoint) {
  const c = tr.cells_;
  tr.endpoint = endpoint;
  put(c.name.firstElementChild, endpoint.name);
  put(c.name.lastElementChild, endpoint.host ?? '');
  set(c.name, 'title', endpoint.policy ? `policy ${endpoint.policy}` : 'no policy announced yet');
  setBadge(tr.badge, ENDPOINT_LEVEL[endpoint.state] ?? 'idle', endpoint.state ?? 'unknown');
  const windows = endpoint.windows ?? [];
  reconcile(tr.windows, windows.map((w, i) => ({ ...w, key: `${w.rule} ${w.period_s} ${i}` })), (w) => w.key, buildWindow, updateWindow);
  if (!windows.length) set(tr.windows, 'data-empty', `${rate(endpoint.rate_per_s)} a second, no window announced`);
  else tr.windows.removeAttribute('data-empty');
  put(c.requests, count(endpoint.requests));
  put(c.throttled, count(endpoint.throttled));
  put(c.errors, count(endpoint.errors));
  set(c.throttled, 'data-level', endpoint.throttled > 0 ? 'amber' : 'idle');
  set(c.errors, 'data-level', endpoint.errors > 0 ? 'amber' : 'idle');
}

function tickEndpoint(tr, now) {
  const { endpoint } = tr;
  const wait = endpoint.next_ms - now;
  const settled = endpoint.state === 'open' || endpoint.state === 'paced';
  put(tr.cells_.state.lastElementChild, settled ? '' : [endpoint.reason, wait > 0 ? `again in ${span(wait)}` : ''].filter(Boolean).join(', '));
  set(tr.cells_.state, 'title', endpoint.reason ?? '');
}

function buildTable(table) {
  const names = ['name', 'rows', 'rate', 'batches', 'open', 'outstanding', 'ack'];
  const tr = row(table.name, names, new Set(names.slice(1)));
  tr.cells_.name.append(make('code'));
  return tr;
}

function updateTable(tr, table) {
  const c = tr.cells_;
  tr.table = table;
  put(c.name.firstElementChild, table.name);
  put(c.rows, count(table.rows));
  put(c.rate, rate(table.rows_per_s));
  put(c.batches, count(table.batches));
  put(c.open, count(table.open_rows));
  put(c.outstanding, count(table.outstanding));
}

function drawTables() {
  reconcile(byId('sources'), page.sources ?? [], (s) => `${s.name} ${s.stream}`, buildSource, updateSource);
  reconcile(byId('endpoints'), page.endpoints ?? [], (e) => `${e.name} ${e.host}`, buildEndpoint, updateEndpoint);
  reconcile(byId('tables'), page.store?.tables ?? [], (t) => t.name, buildTable, updateTable);
}

export function draw(answer, now) {
  page = answer;
  drawSummary();
  drawRate();
  drawTables();
  tick(now);
}

/** @now is the server's clock. */
export function tick(now) {
  if (!page) return;
  for (const tr of byId('sources').children) tickSource(tr, now);
  for (const tr of byId('endpoints').children) tickEndpoint(tr, now);
  for (const tr of byId('tables').children) put(tr.cells_.ack, ago(tr.table.last_ack_ms, now));
  put(byId('state'), page.started_ms ? `up ${span(now - page.started_ms)}` : '');
  drawSpool(now);
  drawStore(now);
}
