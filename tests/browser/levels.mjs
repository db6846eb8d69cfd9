// The pages' menu of renditions: `node levels.mjs SERVER/ID`, of a stream of 854x480 with a rendition `360p`. Each page begins with the level of its
// address, and is told to go to the stream itself, then to the rendition. Prints a line for each page.
import { check, open, until } from './chromium.mjs';

const [server] = process.argv.slice(2);

await open(async ({ first }) => {
  const page = first(server);
  for (const name of ['flv', 'hls', 'dash', 'index']) {
    await page.goto(`${server}/${name}.html?level=360p`);
    const height = (wanted) => until(`${name} shows ${wanted} lines`, 25, () => page.evaluate((wanted) => (
      window.millstream.state === 'playing' && document.getElementById('video').videoHeight === wanted
    ), wanted));
    await height(360);
    const menu = await page.evaluate(() => [...document.getElementById('level').options].map((option) => option.textContent));
    check(menu.length === 4 && menu[1] === 'Original (854 × 480)' && menu.at(-1) === '360p (640 × 360)', `${name}: ${menu}`);
    check(await page.isVisible('#level'), `${name}: no menu`);
    await page.selectOption('#level', 'source');
    await height(480);
    await page.selectOption('#level', '360p');
    await height(360);
    const { errors, attempts } = await page.evaluate(() => ({ errors: window.millstream.errors, attempts: window.millstream.attempts }));
    check(!errors.some((error) => error.includes('fatal')), `${name}: ${errors}`);
    console.log(`${name}: ${menu.join(', ')}; ${attempts} attempts, errors: ${errors.join(' | ')}`);
  }
  await page.goto(`${server}/index.html?embed=1&level=360p`);
  await until('the frame plays', 25, () => page.evaluate(() => document.getElementById('video').videoHeight === 360));
  check(!await page.isVisible('#level'), 'a menu in a frame');
});
