// Words: a key and what goes into it, in the language that is chosen. English is there from the start; another one is loaded when it is chosen.
import english from '../text/en.js';
import { remembered, value } from './value.js';

export const LANGUAGES = { en: 'English', zh: '中文' };
const LOADERS = { zh: () => import('../text/zh.js') };

const own = (navigator.languages ?? []).map((tag) => tag.slice(0, 2)).find((tag) => tag in LANGUAGES);
const wanted = remembered('millstream.language', own ?? 'en');
const tables = { en: english };

export const language = value('en');

export async function choose(next) {
  const tag = next in LANGUAGES ? next : 'en';
  wanted.set(tag);
  try {
    tables[tag] ??= (await LOADERS[tag]()).default;
  } catch {
    // The file of an older release is gone: English stays until the page is loaded anew.
    return;
  }
  document.documentElement.lang = tag === 'zh' ? 'zh-CN' : tag;
  language.set(tag);
}

export const ready = choose(wanted.get());

export const has = (key) => key in english;

export function t(key, given = {}) {
  const text = tables[language.get()][key] ?? english[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (_, name) => String(given[name] ?? ''));
}
