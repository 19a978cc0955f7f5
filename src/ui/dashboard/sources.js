// The sources: streams of one upstream stand together, one line for all of them that opens into a line
// each. The line of a closed group says the worst of its streams, and names it.

import { byId, make, put, reconcile, set, show } from './dom.js';
import { count, rate, shorten, span } from './format.js';
import { badge, row, setBadge } from './rows.js';

const RANK = { red: 3, amber: 2, green: 1, idle: 0 };
const FRESH = { green: 'fresh', amber: 'late', red: 'stale' };
const STATES = { caught_up: 'caught up' };
const QUIET = new Set(['off', 'unavailable', 'done']); // Not late: nothing is expected of them.
const ALONE_MAX = 2; // As many streams of one source stand alone.
const KEPT = 'souk-open-sources';
const COLUMNS = [['name', ''], ['fresh', ''], ['state', ''], ['behind', 'behind', 'num'], ['cursor', 'cursor'],
  ['rows', 'rows', 'n'], ['rate', 'rows/s', 'n'], ['next', 'next', 'n']];

const open = new Set();
try {
  for (const name of JSON.parse(localStorage.getItem(KEPT)) ?? []) open.add(name);
} catch {
  // Private mode: groups are closed after a reload.
}

// What errors or somebody switched off is red, and not quiet.
const level = (stream) => ((QUIET.has(stream.state) && stream.level !== 'red') || !(stream.level in FRESH) ? 'idle' : stream.level);
const word = (state) => STATES[state] ?? state ?? '';
const sum = (streams, of) => streams.reduce((total, stream) => total + (of(stream) || 0), 0);

function trouble(stream) {
  const error = (level(stream) !== 'green' || QUIET.has(stream.state) ? stream.last_error : '') || '';
  const reason = stream.reason || '';
  return reason && error && !reason.includes(error) ? `${reason}; ${error}` : reason || error;
}

/** What the cursors lack to the upstream's head, where it is known: changes, and about how many seconds. */
function behind(streams) {
  const known = streams.filter((stream) => Number.isFinite(stream.lag_changes));
  const seconds = known.map((stream) => stream.lag_estimate_s).filter(Number.isFinite);
  return [known.length ? `${count(sum(known, (stream) => stream.lag_changes))} changes` : '–', seconds.length ? `about ${span(Math.max(...seconds) * 1000)}` : ''];
}

/** The item of a table line: a stream, or a group of streams. */
function lines(sources) {
  const groups = new Map();
  for (const stream of sources) {
    if (!groups.has(stream.name)) groups.set(stream.name, []);
    groups.get(stream.name).push(stream);
  }
  const found = [];
  for (const [name, streams] of groups) {
    if (streams.length <= ALONE_MAX) {
      for (const stream of streams) found.push({ key: `${name} ${stream.stream}`, streams: [stream] });
      continue;
    }
    found.push({ key: name, name, streams });
    for (const stream of streams) found.push({ key: `${name} ${stream.stream}`, streams: [stream], of: name });
  }
  return found;
}

function toggle(name) {
  if (!open.delete(name)) open.add(name);
  for (const tr of byId('sources').children) {
    if (tr.line?.of === name) show(tr, open.has(name));
    if (tr.line?.name === name) set(tr.button, 'aria-expanded', open.has(name));
  }
  try {
    localStorage.setItem(KEPT, JSON.stringify([...open]));
  } catch {
    // As above.
  }
}

function build(line) {
  const tr = row(line.key, COLUMNS);
  const c = tr.cells_;
  if (line.name) {
    tr.button = make('button', 'fold');
    tr.button.type = 'button';
    tr.button.addEventListener('click', () => toggle(line.name));
    set(tr.button, 'aria-expanded', open.has(line.name));
    c.name.append(tr.button, make('span', 'sub'));
  } else {
    c.name.append(make('span'), make('span', 'sub'));
  }
  c.fresh.append((tr.badge = badge()), make('span', 'num age'));
  c.state.append(make('span'), make('span', 'sub'));
  c.behind.append(make('span'), make('span', 'sub'));
  c.cursor.append(make('code'));
  return tr;
}

function updateName(tr, { name, streams, of }) {
  const [first] = streams;
  const { firstElementChild: main, lastElementChild: sub } = tr.cells_.name;
  const stream = first.league && !first.stream?.includes(first.league) ? `${first.stream} · ${first.league}` : (first.stream ?? '');
  tr.className = of ? 'child' : '';
  put(main, name ?? (of ? stream : first.name));
  put(sub, name ? `${streams.length} streams` : of ? '' : stream);
}

function updateState(tr, streams, telling) {
  const { firstElementChild: main, lastElementChild: sub } = tr.cells_.state;
  const words = new Map();
  for (const stream of streams) words.set(word(stream.state), (words.get(word(stream.state)) ?? 0) + 1);
  put(main, words.size === 1 ? words.keys().next().value : [...words].map(([text, n]) => `${n} ${text}`).join(', '));
  const text = trouble(telling) || (streams.length === 1 ? telling.note : '') || '';
  const said = text && streams.length > 1 ? `${telling.stream}: ${text}` : text;
  put(sub, said);
  set(sub, 'title', said);
  set(sub, 'class', QUIET.has(telling.state) || telling.note || telling.last_error ? 'sub whole' : 'sub');
}

function updateNumbers(tr, streams) {
  const c = tr.cells_;
  const pages = (kind) => count(sum(streams, (stream) => stream.pages?.[kind]));
  const [changes, time] = behind(streams);
  put(c.behind.firstElementChild, changes);
  put(c.behind.lastElementChild, time);
  c.behind.toggleAttribute('data-none', changes === '–');
  const kinds = [['new', 'new'], ['empty', 'empty'], ['unchanged', 'unchanged'], ['repeat', 'repeated'], ['rewind', 'refused as rewinds'],
    ['invalid', 'invalid'], ['stale', 'stale'], ['unavailable', 'not available']];
  const error = streams.find((stream) => stream.last_error)?.last_error;
  set(c.rows, 'title', `pages: ${kinds.map(([kind, text]) => `${pages(kind)} ${text}`).join(', ')}; ${count(sum(streams, (stream) => stream.errors))} errors${error ? `, last: ${error}` : ''}`);
  put(c.rows, count(sum(streams, (stream) => stream.rows)));
  put(c.rate, rate(sum(streams, (stream) => stream.rows_per_s)));
}

function update(tr, line) {
  const { streams } = line;
  const worst = streams.reduce((a, b) => (RANK[level(b)] > RANK[level(a)] ? b : a));
  tr.line = line;
  show(tr, !line.of || open.has(line.of));
  updateName(tr, line);
  const name = level(worst);
  setBadge(tr.badge, name, FRESH[name] ?? (worst.state === 'off' ? 'off' : 'quiet'));
  // Where all are fresh, one that has something to say all the same.
  updateState(tr, streams, trouble(worst) ? worst : (streams.find(trouble) ?? worst));
  updateNumbers(tr, streams);
  const code = tr.cells_.cursor.firstElementChild;
  put(code, line.name ? '' : shorten(streams[0].cursor || '–', 11));
  set(code, 'title', line.name ? '' : streams[0].cursor || '');
}

function tickRow(tr, now) {
  // A stream with a cursor and no success has not been asked since the start: it was before.
  const asked = tr.line.streams.filter((stream) => stream.last_success_ms || !stream.cursor);
  const oldest = Math.min(...asked.map((stream) => stream.last_success_ms || 0));
  put(tr.cells_.fresh.lastElementChild, !asked.length ? '–' : oldest ? span(now - oldest) : 'never');
  const times = tr.line.streams.filter((stream) => stream.state !== 'off').map((stream) => stream.next_request_ms).filter((ms) => ms > 0);
  const wait = Math.min(...times) - now;
  put(tr.cells_.next, !times.length ? '–' : wait > 0 ? span(wait) : 'now');
}

export function drawSources(sources) {
  const found = lines(sources);
  reconcile(byId('sources'), found, (line) => line.key, build, update);
  const streams = sources.filter((stream) => stream.stream).length; // A source without one is off as a whole.
  const names = new Set(sources.map((stream) => stream.name)).size;
  put(byId('sources-note'), sources.length ? `${count(names)} sources, ${count(streams)} streams` : '');
}

export function tickSources(now) {
  for (const tr of byId('sources').children) tickRow(tr, now);
}
