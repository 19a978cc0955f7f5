// Numbers and times as people read them. Pure functions: no page, no clock.

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const tenth = new Intl.NumberFormat('en', { minimumFractionDigits: 1, maximumFractionDigits: 1 });

/** 1203 → "1,203". What is no number becomes a dash, so that a missing field shows as missing. */
export function count(n) {
  return Number.isFinite(n) ? whole.format(n) : '–';
}

/** Rates below 10 keep one decimal: 0.8 requests a second must not read as 1. */
export function rate(n) {
  if (!Number.isFinite(n)) return '–';
  return n > 0 && n < 10 ? tenth.format(n) : whole.format(n);
}

export function bytes(n) {
  if (!Number.isFinite(n)) return '–';
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let i = 0;
  while (n >= 1024 && i < units.length - 1) {
    n /= 1024;
    i++;
  }
  return `${i > 0 && n < 100 ? tenth.format(n) : whole.format(n)} ${units[i]}`;
}

/** A length of time in ms: "0.4 s", "12 s", "3 min", "2 h 05 min", "4 d". */
export function span(ms) {
  if (!Number.isFinite(ms)) return '–';
  const s = Math.max(0, ms) / 1000;
  if (s < 10) return `${tenth.format(s)} s`;
  if (s < 120) return `${Math.floor(s)} s`;
  const min = Math.floor(s / 60);
  if (min < 120) return `${min} min`;
  const h = Math.floor(min / 60);
  return h < 48 ? `${h} h ${String(min % 60).padStart(2, '0')} min` : `${Math.floor(h / 24)} d`;
}

/** How long ago @then was; 0 stands for never, as in the status page. */
export function ago(then, now) {
  return then > 0 ? `${span(now - then)} ago` : 'never';
}

export function clock(ms) {
  return new Date(ms).toLocaleTimeString('en-GB');
}

/** Cursors are long and differ at the end of each part: both ends stay. */
export function shorten(text, max = 22) {
  if (text.length <= max) return text;
  const half = Math.floor((max - 1) / 2);
  return `${text.slice(0, half)}…${text.slice(-half)}`;
}
