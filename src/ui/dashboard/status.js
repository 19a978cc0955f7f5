// Draws one answer of /api/v1/status. draw() takes the numbers, tick() moves what changes with time
// alone (ages, countdowns) between two answers.

import { byId, make, put, reconcile, set, setIcon, show, svg } from './dom.js';
import { ago, bytes, count, rate, span } from './format.js';
import { drawLimits, tickLimits } from './limits.js';
import { row } from './rows.js';
import { drawSources, tickSources } from './sources.js';

const WORDS = { green: 'All well', amber: 'Needs a look', red: 'In trouble' };
const STORE_LEVEL = { connected: 'green', connecting: 'amber', away: 'red', held: 'red' }; // held: it refuses us, and nothing is dropped
const level = (name) => (name in WORDS ? name : 'idle');

let page = null;

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
  put(byId('spool-disk'), `${count(s.segments)} ${s.segments === 1 ? 'segment' : 'segments'}, ${bytes(s.disk_free_bytes)} of disk free`);
}

function drawStore(now) {
  const s = page.store ?? {};
  const p = page.process ?? {};
  const name = STORE_LEVEL[s.state] ?? 'idle';
  set(byId('store'), 'data-level', name);
  set(byId('store-state'), 'data-level', name);
  put(byId('store-state'), s.state ?? 'unknown');
  put(byId('store-rate'), Number.isFinite(s.rows_per_s) ? rate(s.rows_per_s) : '–');
  const since = s.since_ms ? `for ${span(now - s.since_ms)}` : '';
  put(byId('store-detail'), s.state === 'connected' ? `${s.server ?? ''} ${since}` : `${s.last_error || 'not connected'} ${since}`);
  put(byId('process'), `souk: ${((p.cpu_ratio || 0) * 100).toFixed(1)} % CPU, ${bytes(p.rss_bytes)}, lag ${(p.loop_lag_ms ?? 0).toFixed(1)} ms`);
}

/** The memory of stashes, where there is one. */
function drawTape(now) {
  const t = page.tape;
  const on = !!t && t.state !== 'off';
  show(byId('tape'), on);
  if (!on) return;
  put(byId('tape-state'), t.state ?? '');
  put(byId('tape-items'), count(t.items));
  put(byId('tape-stashes'), count(t.stashes));
  put(byId('tape-bytes'), bytes(t.bytes));
  set(byId('tape-bytes'), 'title', `at most ${bytes(t.memory_max)}; ${count(t.forgotten)} items forgotten for want of room`);
  put(byId('tape-events'), count(t.events));
  put(byId('tape-lag'), Number.isFinite(t.lag_s) ? span(t.lag_s * 1000) : '–');
  put(byId('tape-snapshot'), ago(t.snapshot_ms, now));
}

// --- Stored rows

const TABLE_COLUMNS = [['name', ''], ['rows', 'rows', 'n'], ['rate', 'rows/s', 'n'], ['batches', 'batches', 'n'], ['open', 'open', 'n'],
  ['outstanding', 'under way', 'n'], ['ack', 'stored', 'n']];

function buildTable(table) {
  const tr = row(table.name, TABLE_COLUMNS);
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
  drawSources(page.sources ?? []);
  drawLimits(page.endpoints ?? []);
  reconcile(byId('tables'), page.store?.tables ?? [], (t) => t.name, buildTable, updateTable);
}

export function draw(answer, now) {
  page = answer;
  show(byId('main'), true); // Empty tables that fill would push each other aside.
  drawSummary();
  drawRate();
  drawTables();
  tick(now);
}

/** @now is the server's clock. */
export function tick(now) {
  if (!page) return;
  tickSources(now);
  tickLimits(now);
  for (const tr of byId('tables').children) put(tr.cells_.ack, ago(tr.table.last_ack_ms, now));
  put(byId('state'), page.started_ms ? `up ${span(now - page.started_ms)}` : '');
  drawSpool(now);
  drawStore(now);
  drawTape(now);
}
