// Words: a key and what goes into it, in the language that is chosen. English is there from the start; another one is loaded when it is chosen.
import english from '../text/en.js';
import { remembered, value } from './value.js';

export const LANGUAGES = { en: 'English', zh: '中文' };
const LOADERS = { zh: async () => ({ words: (await import('../text/zh.js')).default, sentences: (await import('../text/zh_sentences.js')).default }) };

const own = (navigator.languages ?? []).map((tag) => tag.slice(0, 2)).find((tag) => tag in LANGUAGES);
const wanted = remembered('millstream.language', own ?? 'en');
const tables = { en: { words: english, sentences: {} } };

export const language = value('en');

export async function choose(next) {
  const tag = next in LANGUAGES ? next : 'en';
  wanted.set(tag);
  try {
    tables[tag] ??= await LOADERS[tag]();
  } catch {
    // The file of an older release is gone: English stays until the page is loaded anew.
    return;
  }
  document.documentElement.lang = tag === 'zh' ? 'zh-CN' : tag;
  language.set(tag);
}

export const ready = choose(wanted.get());

export const has = (key) => key in english;

const filled = (text, given) => text.replace(/\{(\w+)\}/g, (_, name) => String(given[name] ?? ''));

export const t = (key, given = {}) => filled(tables[language.get()].words[key] ?? english[key] ?? key, given);

// A sentence of what is wrong with a stream, in a language other than the API's own; `null` where this page has none.
export function sentence(key, given) {
  const text = tables[language.get()].sentences[key];
  return text === undefined ? null : filled(text, given);
}
