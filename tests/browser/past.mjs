// The page of a stream that is recorded (`cam`), and of one that is not (`bare`): `node past.mjs ORIGIN`.
import { check, open, sleep, until } from './chromium.mjs';

const [origin] = process.argv.slice(2);
const shots = process.env.MILLSTREAM_SHOT;
const state = (page) => page.evaluate(() => window.millstream?.state);
const plays = (page) => until('the picture plays', 30, async () => (await state(page)) === 'playing');
const badge = (page) => page.textContent('#badge');
const behind = (page) => page.evaluate(() => -Number(document.getElementById('seek').value));

await open(async ({ newPage }) => {
  const bare = await newPage(`${origin}/bare/index.html`);
  await plays(bare);
  await sleep(1000);
  check(!(await bare.isVisible('#past')), 'a stream without a recording shows a way back');
  await bare.close();

  const page = await newPage(`${origin}/cam/index.html`);
  await plays(page);
  await until('the way back is offered', 15, () => page.isVisible('#goback'));
  check(!(await page.isVisible('#seek')) && !(await page.isVisible('#tolive')), 'at the live edge there is no bar');
  await page.click('#goback');
  await until('the past plays', 20, () => page.evaluate(() => window.millstream.hls?.url.endsWith('dvr.m3u8') && window.millstream.state === 'past'));
  check((await badge(page)) === 'recorded', `in the past the badge says ${await badge(page)}`);
  await until('it is behind', 15, async () => (await behind(page)) > 12);
  const delay = () => page.evaluate(() => window.millstream.latency);
  check((await delay()) > 12, `the delay is said as it is: ${await delay()}`);
  if (shots) await page.screenshot({ path: `${shots}-past.png` });
  // To about the middle, with the bar, and on from there.
  await page.evaluate(() => {
    const seek = document.getElementById('seek');
    seek.value = Number(seek.min) / 2;
    seek.dispatchEvent(new Event('input'));
    seek.dispatchEvent(new Event('change'));
  });
  await sleep(3000);
  const [first, at] = [await page.evaluate(() => document.getElementById('video').currentTime), await behind(page)];
  await sleep(4000);
  const second = await page.evaluate(() => document.getElementById('video').currentTime);
  check(second - first > 3, `it goes on: ${second - first} s in 4 s`);
  check(at > 6 && Math.abs((await behind(page)) - at) < 3, 'it stays as far behind');
  check(/^−\d\d:\d\d/.test(await page.textContent('#behind')), await page.textContent('#behind'));
  await page.click('#tolive');
  await plays(page);
  await until('it is live', 15, async () => (await delay()) < 5);
  check(!(await page.isVisible('#seek')) && (await page.isVisible('#goback')), 'the bar is gone');
  check((await badge(page)) === 'live', `back at the live edge the badge says ${await badge(page)}`);
});
