// The page that chooses, where the quickest way does not work for a while: `node fallback.mjs URL`. It plays a slower one, and goes back.
import { check, run, until } from './chromium.mjs';

const [url] = process.argv.slice(2);

await run(url, async ({ page, state }) => {
  let asked = 0;
  // What a proxy that gathers answers does: nothing comes.
  const held = (route) => { asked += 1; void route; };
  await page.route('**/live.flv*', held);
  const began = Date.now();
  const seconds = () => ((Date.now() - began) / 1000).toFixed(1);
  await page.goto(url);
  const plays = (way, within) => until(`the page plays ${way}`, within, async () => {
    const now = await state();
    return now.way === way && now.state === 'playing' && now.time > 0 && now;
  });
  await plays('hls', 40);
  console.log(`hls after ${seconds()} s, ${asked} requests for FLV`);
  check(asked <= 3, `${asked} requests for FLV`);
  await page.unroute('**/live.flv*', held);
  const { attempts } = await state();
  const back = await plays('flv', 60);
  console.log(`flv again after ${seconds()} s: ${back.errors}`);
  check(back.attempts === attempts + 1, `${back.attempts - attempts} attempts to go back`);
});
