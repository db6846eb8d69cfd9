// How a publisher arrives, in a word and in sentences: what an operator would do something about.
import { lasting, number } from '../lib/format.js';
import { html } from '../lib/html.js';
import { t } from '../lib/text.js';

// Which condition says the same as a repair.
const SAID_BY = { sparse_keyframes: 'gop_too_long' };
// More than these is worth a word.
const JITTER_MS = 100;
const SILENT_MS = 3000;

// What a session counts from its beginning on is trouble for so long after it has risen.
const LATELY_MS = 5 * 60000;
const SESSIONS_MAX = 2000;
const risen = new Map();

// Whether a count of a session has risen lately, as far as this page has seen; of a young session it has.
function lately(publisher, name) {
  const count = publisher[name] ?? 0;
  const key = `${name}/${publisher.session}/${publisher.since_unix_ms}`;
  const known = risen.get(key);
  const now = Date.now();
  if (known?.count !== count) {
    if (risen.size >= SESSIONS_MAX) risen.clear();
    risen.set(key, { count, at: count && (known || now - publisher.since_unix_ms < LATELY_MS) ? now : 0 });
  }
  return now - risen.get(key).at < LATELY_MS;
}

// What is not as it should be: `bad` or `odd`, and a sentence. `said`: conditions that are told already.
export function findings(publisher, said = []) {
  if (!publisher) return [];
  const found = [];
  const odd = (text, kind = 'odd') => found.push({ kind, text });
  if (publisher.heard_ago_ms > SILENT_MS) odd(t('health_silent', { time: lasting(publisher.heard_ago_ms) }), 'bad');
  if (lately(publisher, 'gaps')) odd(t('health_gaps', { count: number(publisher.gaps), longest: number(publisher.longest_gap_ms / 1000, 1) }));
  if (publisher.jitter_ms > JITTER_MS) odd(t('health_jitter', { ms: number(publisher.jitter_ms) }));
  if (lately(publisher, 'timestamp_jumps') && !said.includes('timestamps_jump')) odd(t('health_jumps', { count: number(publisher.timestamp_jumps) }));
  for (const repair of publisher.repairs ?? []) if (!said.includes(SAID_BY[repair.kind])) odd(`${repair.advice} (${number(repair.count)})`);
  for (const dropped of publisher.dropped_tracks ?? []) odd(`${dropped.codec}: ${dropped.reason}`, 'bad');
  return found;
}

export function Health({ publisher }) {
  if (!publisher) return html`<span></span>`;
  const found = findings(publisher);
  const kind = found.some((one) => one.kind === 'bad') ? 'bad' : found.length ? 'odd' : 'good';
  const word = found.length ? t('health_notes', { count: found.length }) : t('health_good');
  return html`<span class=${`health ${kind}`} title=${found.map((one) => one.text).join('\n')}>${word}</span>`;
}

export function Findings({ publisher, said = [] }) {
  const found = findings(publisher, said);
  if (!found.length) return html`<p class="health good">${t('health_good_text')}</p>`;
  return html`<ul class="findings">${found.map((one) => html`<li class=${`health ${one.kind}`}>${one.text}</li>`)}</ul>`;
}
