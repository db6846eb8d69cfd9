// What is wrong with a stream, as the console says it: `node diagnosis.mjs URL TOKEN PICTURES`, while a stream "cam" with one keyframe in 20 s is on air.
import { join } from 'node:path';
import { check, open } from './chromium.mjs';
import { apiOf, handles } from './console_page.mjs';

const [url, token, pictures] = process.argv.slice(2);
const api = apiOf(url, token);

await open(async ({ newPage }) => {
  const { items: [{ http_url: play }] } = await api('GET', 'nodes');
  const page = await newPage(url, [play]);
  const { go, logIn, accessible, narrow } = handles(page);
  await logIn(token);

  // In the list, a short mark.
  const mark = page.locator('[data-stream=cam] [data-conditions~=gop_too_long]');
  await mark.waitFor({ timeout: 20000 });
  check((await mark.innerText()).includes('Long GOP'), await mark.innerText());
  await accessible('the list');
  await page.screenshot({ path: join(pictures, 'list.png') });

  // On the stream's page, a sentence with its figure and what to do; and it is the API's.
  await go('#/streams/cam/now');
  const said = page.locator('[data-condition=gop_too_long]');
  await said.waitFor({ timeout: 10000 });
  const text = await said.innerText();
  check(/A GOP of the encoder is [\d.]+ s long/.test(text), text);
  check(text.includes('keyframe interval to 2 s'), text);
  const answer = await api('GET', 'streams/cam/diagnosis');
  const condition = answer.conditions.find((one) => one.id === 'gop_too_long');
  check(text.includes(condition.advice), `${condition.advice} is not on the page: ${text}`);
  const words = (sentence) => sentence.replace(/[\d.,]+/g, '#');
  check(words(text).includes(words(condition.sentence)), `${condition.sentence} is not on the page: ${text}`);
  // What arrives as it should is not said of a stream that something is wrong with.
  check(await page.locator('.diagnosis .health.good').count() === 0, 'the stream is called right');
  await accessible('the page of the stream');
  await page.screenshot({ path: join(pictures, 'stream.png'), fullPage: true });

  // In Chinese, on a phone, in the dark.
  await page.selectOption('.taste select >> nth=0', 'zh');
  await page.selectOption('.taste select >> nth=1', 'dark');
  await page.setViewportSize({ width: 390, height: 800 });
  await page.waitForFunction(() => document.querySelector('[data-condition=gop_too_long]')?.innerText.includes('关键帧间隔'));
  await narrow('the page');
  await accessible('the page in the dark');
  await page.screenshot({ path: join(pictures, 'chinese.png'), fullPage: true });
});
