// Numbers, sizes and times as people read them, in the chosen language.
import { language, t } from './text.js';

const tag = () => (language.get() === 'zh' ? 'zh-CN' : 'en-GB');

export const number = (n, digits = 0) => new Intl.NumberFormat(tag(), { maximumFractionDigits: digits }).format(n ?? 0);

export function bits(bps) {
  if (!bps) return '0 kbit/s';
  return bps >= 1e6 ? `${number(bps / 1e6, 2)} Mbit/s` : `${number(bps / 1e3)} kbit/s`;
}

export function bytes(count) {
  if (count === null || count === undefined) return '–';
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let at = 0;
  let left = count;
  while (left >= 1000 && at < units.length - 1) { left /= 1000; at += 1; }
  return `${number(left, left < 10 && at > 0 ? 1 : 0)} ${units[at]}`;
}

export function lasting(ms) {
  if (ms === null || ms === undefined) return '–';
  const s = Math.max(0, Math.round(ms / 1000));
  const two = (n) => String(n).padStart(2, '0');
  const [d, h, m] = [Math.floor(s / 86400), Math.floor(s / 3600) % 24, Math.floor(s / 60) % 60];
  const clock = `${two(h)}:${two(m)}:${two(s % 60)}`;
  return d ? `${t('days', { count: d })} ${clock}` : clock;
}

export const date = (ms) => (ms ? new Intl.DateTimeFormat(tag(), { dateStyle: 'medium', timeStyle: 'medium' }).format(ms) : '–');

export const clock = (ms) => new Intl.DateTimeFormat(tag(), { timeStyle: 'medium' }).format(ms);

export const minute = (ms) => new Intl.DateTimeFormat(tag(), { hour: '2-digit', minute: '2-digit' }).format(ms);

export const day = (ms) => new Intl.DateTimeFormat(tag(), { dateStyle: 'medium' }).format(ms);

export const weekday = (ms) => new Intl.DateTimeFormat(tag(), { weekday: 'short', day: 'numeric', month: 'numeric' }).format(ms);

// A codec of RFC 6381 by the name that people know.
export function codec(name) {
  const known = { avc1: 'H.264', avc3: 'H.264', hvc1: 'H.265', hev1: 'H.265', av01: 'AV1', vp09: 'VP9', mp4a: 'AAC', opus: 'Opus', Opus: 'Opus', fLaC: 'FLAC', 'ac-3': 'AC-3', 'ec-3': 'E-AC-3', '.mp3': 'MP3' };
  const short = known[(name ?? '').split('.')[0]];
  return short ?? name ?? '';
}
