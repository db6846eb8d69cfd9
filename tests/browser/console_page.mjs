// What the scenarios of the console share: the API as an operator's program asks it, and a page of the console with what a person does on every view.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { check } from './chromium.mjs';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

export const apiOf = (url, token) => async (method, path, body, headers = {}) => {
  const answer = await fetch(`${url}api/v1/${path}`, {
    method, headers: { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json', ...headers }, body: body && JSON.stringify(body),
  });
  check(answer.ok, `${method} ${path}: ${answer.status}`);
  return answer.status === 204 ? null : answer.json();
};

export const step = (text) => console.log(`${new Date().toISOString().slice(11, 23)} ${text}`);

export function handles(page) {
  return {
    go: async (hash) => {
      await page.evaluate((to) => { location.hash = to; }, hash);
      await page.waitForSelector('main h1');
    },
    main: () => page.locator('main').innerText(),
    logIn: async (secret) => {
      await page.fill('input[name=token]', secret);
      await page.click('.login button.primary');
    },
    // What a person who cannot see, or has no mouse, would fall over.
    accessible: async (what) => {
      await page.evaluate(axe);
      const found = await page.evaluate(async () => (await window.axe.run(document, { resultTypes: ['violations'] })).violations
        .filter((one) => ['serious', 'critical'].includes(one.impact)).map((one) => `${one.id}: ${one.nodes.slice(0, 3).map((node) => node.html).join(' ')}`));
      check(found.length === 0, `${what}: ${found.join('\n')}`);
    },
    narrow: async (what) => {
      const wider = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      check(wider <= 0, `${what} is ${wider} pixels wider than the screen`);
    },
  };
}
