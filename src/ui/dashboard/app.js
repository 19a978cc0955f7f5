// The page's loop: asks for the status each second, follows the alert stream, and says how old all of
// it is. When souk does not answer, the last good answer stays on screen with its age. When it wants to
// know first who asks, a token makes a session: the cookie is the browser's, the token is kept nowhere.

import { byId, put, set, show } from './dom.js';
import { span } from './format.js';
import { AlertStream } from './stream.js';
import { Feed } from './feed.js';
import * as status from './status.js';

const POLL_MS = 1000;
const POLL_HIDDEN_MS = 15_000;
const ANSWER_MS = 4000;
const OLD_MS = 5000; // Data older than this are called old.
const SAID_EVERY_MS = 30_000; // The summary is read out at a change of level, else this often.
const KEPT = 'souk-last-status';

const at = new URL('ws/alerts', document.baseURI);
at.protocol = at.protocol === 'https:' ? 'wss:' : 'ws:';
const stream = new AlertStream(at.href, { name: 'dashboard', ver: '1' });
const feed = new Feed(stream);

let answeredAt = 0; // By this browser's clock.
let clockAhead = 0; // The server's clock minus this browser's.
let problem = '';
let refused = 0; // The status of a refusal: souk is there, and answers others.
let keptAt = 0;
let said = { level: '', at: 0 };
let timer = 0;

const serverNow = () => Date.now() + clockAhead;

function take(answer, receivedAt) {
  answeredAt = receivedAt;
  clockAhead = Number.isFinite(answer.now_ms) ? answer.now_ms - receivedAt : 0;
  problem = '';
  refused = 0;
  status.draw(answer, serverNow());
  const level = answer.summary?.level ?? '';
  if (level !== said.level || receivedAt - said.at > SAID_EVERY_MS) {
    said = { level, at: receivedAt };
    put(byId('announce'), answer.summary?.text ?? '');
  }
}

function keep(text) {
  if (Date.now() - keptAt < 10_000) return;
  keptAt = Date.now();
  try {
    localStorage.setItem(KEPT, JSON.stringify({ at: keptAt, text }));
  } catch {
    // Private mode or a full store: the page is only poorer after a reload without souk.
  }
}

function recall() {
  try {
    const kept = JSON.parse(localStorage.getItem(KEPT));
    if (kept) take(JSON.parse(kept.text), kept.at);
  } catch {
    // Nothing kept, or not by this version.
  }
}

/** What an answer that is none says, in the server's words. */
async function refusalOf(answer) {
  let why = '';
  try {
    why = (await answer.json()).error.msg;
  } catch {
    // Not of souk, or cut off: its status alone.
  }
  return `souk answers ${answer.status}${why ? `: ${why}` : ''}`;
}

async function signIn(event) {
  event.preventDefault();
  const said = byId('sign-in-problem');
  put(said, '');
  try {
    const answer = await fetch('api/v1/session', {
      method: 'POST',
      headers: { Authorization: `Bearer ${byId('token').value.trim()}` },
      signal: AbortSignal.timeout(ANSWER_MS),
    });
    if (!answer.ok) {
      put(said, answer.status === 401 ? 'souk does not know this token' : await refusalOf(answer));
      return;
    }
    byId('token').value = '';
    stream.retry();
    poll();
  } catch (error) {
    put(said, error.name === 'TimeoutError' ? 'souk does not answer' : 'this is no token, or souk cannot be reached');
  }
}

async function poll() {
  clearTimeout(timer);
  try {
    const answer = await fetch('api/v1/status', { cache: 'no-store', signal: AbortSignal.timeout(ANSWER_MS) });
    refused = answer.status === 401 || answer.status === 403 ? answer.status : 0;
    if (!answer.ok) throw new Error(await refusalOf(answer));
    const text = await answer.text();
    const page = JSON.parse(text);
    const receivedAt = Date.now();
    if (problem) stream.retry(); // souk is back: no need to sit the pause out.
    requestAnimationFrame(() => take(page, receivedAt));
    keep(text);
  } catch (error) {
    problem = error.name === 'TimeoutError' ? 'souk does not answer' : error instanceof TypeError ? 'souk cannot be reached' : error.message;
    if (!answeredAt && !refused) recall(); // What somebody else may have been shown is not for this visitor.
  }
  timer = setTimeout(poll, document.hidden ? POLL_HIDDEN_MS : POLL_MS);
}

const STREAM_WORDS = { connecting: 'connecting', catching_up: 'catching up', live: 'live', waiting: 'lost', stopped: 'refused' };
const STREAM_LEVEL = { connecting: 'idle', catching_up: 'idle', live: 'green', waiting: 'amber', stopped: 'red' };

function tick() {
  const now = Date.now();
  const dataAge = now - answeredAt;
  const old = answeredAt > 0 && dataAge > (document.hidden ? 2 * POLL_HIDDEN_MS : OLD_MS);
  set(byId('data-chip'), 'data-level', !answeredAt ? (problem ? 'red' : 'idle') : old ? 'red' : 'green');
  put(byId('data-age'), answeredAt ? (old ? `${span(dataAge)} old` : 'live') : 'none');
  set(byId('stream-chip'), 'data-level', STREAM_LEVEL[stream.state]);
  const wait = stream.retryAt - now;
  put(byId('stream-state'), stream.state === 'waiting' && wait > 1000 ? `retry in ${span(wait)}` : STREAM_WORDS[stream.state]);

  const silent = now - stream.checkedAt;
  const news = [];
  if (old) news.push(`${problem || 'souk does not answer'}: these numbers are ${span(dataAge)} old.`);
  else if (!answeredAt && problem) news.push(`${problem}.`);
  if (refused) {
    // The stream is refused for the same reason.
  } else if (stream.state === 'stopped') news.push(`Alerts are not live: ${stream.reason}.`);
  else if (stream.checkedAt && silent > 12_000) news.push(`Alerts may be ${span(silent)} old${stream.reason ? `: ${stream.reason}` : ''}.`);
  show(byId('banner'), news.length > 0);
  if (news.length) put(byId('banner-text'), news.join(' '));
  show(byId('banner-retry'), !refused && (stream.state === 'stopped' || stream.state === 'waiting'));
  show(byId('sign-in'), refused === 401); // Where nobody may ask, a token would change nothing.
  document.body.classList.toggle('old', old);

  if (answeredAt) status.tick(old ? answeredAt + clockAhead : serverNow());
  feed.tick(serverNow());
}

let drawing = false;
function drawSoon() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    feed.draw();
    tick();
  });
}

stream.addEventListener('change', drawSoon);
stream.addEventListener('state', drawSoon);
byId('sign-in').addEventListener('submit', signIn);
byId('banner-retry').addEventListener('click', () => stream.retry());
addEventListener('online', () => stream.retry());
document.addEventListener('visibilitychange', () => {
  if (document.hidden) return;
  poll();
  stream.retry();
});

stream.start();
poll();
setInterval(tick, 250);
