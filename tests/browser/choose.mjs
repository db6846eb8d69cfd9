// The page that chooses how to play, as a visitor uses it, on a screen of a phone's size too: `node choose.mjs URL`.
import { check, run, until } from './chromium.mjs';

const [url] = process.argv.slice(2);

await run(url, async ({ page, state }) => {
  await page.goto(url);
  const plays = (way) => until(`the page plays ${way}`, 30, async () => {
    const now = await state();
    return now.way === way && now.state === 'playing' && now.time > 0 && now;
  });
  const chosen = () => page.evaluate(() => document.querySelector('[aria-pressed="true"]').dataset.choose);
  const first = await plays('flv');
  console.log(`by itself: ${first.way}, ${first.player}`);
  check((await chosen()) === 'auto', `chosen: ${await chosen()}`);
  for (const way of ['hls', 'dash', 'flv']) {
    await page.focus(`[data-choose="${way}"]`);
    await page.keyboard.press('Enter');
    const now = await plays(way);
    check((await chosen()) === way, `chosen: ${await chosen()}`);
    const figures = await until('the page shows figures', 10, async () => {
      const texts = await page.evaluate(() => [...document.querySelectorAll('dd')].map((dd) => dd.textContent));
      return texts.every((text) => text !== '–') && texts;
    });
    console.log(`${way}: ${now.player}: ${figures.join('; ')}`);
  }
  // On a phone nothing sticks out, and what is to be touched can be.
  await page.setViewportSize({ width: 320, height: 640 });
  const width = await page.evaluate(() => document.documentElement.scrollWidth);
  check(width <= 320, `at a width of 320 the page is ${width} wide`);
  const low = await page.evaluate(() => [...document.querySelectorAll('nav button')].map((b) => b.getBoundingClientRect().height));
  check(low.every((height) => height >= 32), `buttons of ${low} pixels`);
  if (process.env.MILLSTREAM_SHOT) await page.screenshot({ path: `${process.env.MILLSTREAM_SHOT}-choose.png` });
});
