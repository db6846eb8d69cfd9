// The console with texts from hostile people: `node console_texts.mjs URL TOKEN TEXT LONG`. The stream "odd" is called TEXT and described by LONG, its encoder says that it
// is TEXT, and the hook "odd" is described by LONG and has written it. All of that is shown as text, and breaks nothing.
import { check, open, until } from './chromium.mjs';
import { apiOf, handles, step } from './console_page.mjs';

const [url, token, text, long] = process.argv.slice(2);
const api = apiOf(url, token);
// Browsers show a line break as a space.
const begin = (of) => of.slice(0, 40);

await open(async ({ newPage }) => {
  const { items: [{ http_url: play }] } = await api('GET', 'nodes');
  const page = await newPage(url, [play]);
  const { go, logIn, main, accessible, narrow } = handles(page);
  await page.evaluate(() => { window.owned = 0; });
  await logIn(token);
  const harmless = async (where) => {
    check(await page.evaluate(() => window.owned === 0 && !document.title.includes('owned')), `a text was run: ${where}`);
    check(await page.locator('main b:has-text("bold") b, main img:not([src^="http"]), main script, main style, main iframe[src^="javascript"]').count() === 0, `a text became HTML: ${where}`);
  };
  // The logs of the hook, as they are, and one line more.
  await page.route('**/api/v1/hooks/odd/logs*', async (route) => {
    const answer = await route.fetch();
    const json = await answer.json();
    json.items = [{ ...(json.items[0] ?? { unix_ms: Date.now(), node: 'here', version: 1, level: 'info' }), text: long }];
    await route.fulfill({ response: answer, json });
  });
  const views = [
    ['live', text], ['streams', text], ['streams/odd/now', text], ['streams/odd/play', text], ['streams/odd/settings', null], ['streams/odd/history', text],
    ['hooks', null], ['hooks/odd/versions', long], ['hooks/odd/logs', long],
  ];
  for (const width of [1280, 390]) {
    await page.setViewportSize({ width, height: 844 });
    for (const [hash, shown] of views) {
      step(`${hash}, ${width} wide`);
      await go(`#/${hash}`);
      if (shown) await until(`${hash} shows it`, 15, async () => (await main()).includes(begin(shown)));
      await narrow(hash);
      await harmless(hash);
      if (width === 1280) await accessible(hash);
    }
  }
  // What is typed is what is kept, and what is too long is refused where it was typed.
  await page.setViewportSize({ width: 1280, height: 844 });
  await go('#/streams/odd/settings');
  await page.waitForSelector('input[name=videoname]');
  check(await page.inputValue('input[name=videoname]') === text, 'the name is another one in its field');
  check(await page.inputValue('textarea[name=description]') === long, 'the description is another one in its field');
  const tooLong = '🎥'.repeat(500);
  await page.$eval('input[name=videoname]', (input) => input.removeAttribute('maxlength'));
  await page.fill('input[name=videoname]', tooLong);
  if (await page.locator('.bar button.primary').isEnabled()) await page.click('.bar button.primary');
  await page.waitForSelector('.field.wrong:has(input[name=videoname])');
  check(await page.inputValue('input[name=videoname]') === tooLong, 'a refusal lost what was typed');
  // Right-to-left text turns nothing but itself around.
  await go('#/streams/odd/now');
  await page.waitForSelector('.tabs');
  check(await page.evaluate(() => getComputedStyle(document.querySelector('.tabs')).direction === 'ltr'), 'the page is turned around');
});
