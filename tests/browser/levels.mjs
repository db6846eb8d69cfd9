// The pages' menu of renditions: `node levels.mjs SERVER/ID [854x480 640x360]`, of a stream of that size with a rendition `360p` of that. Each page begins with the level of its
// address, and is told to go to the stream itself, then to the rendition. Prints a line for each page.
import { check, open, until } from './chromium.mjs';

const [server, ...sizes] = process.argv.slice(2);
const [source, rendition] = (sizes.length === 2 ? sizes : ['854x480', '640x360']).map((size) => size.split('x').map(Number));

await open(async ({ first }) => {
  const page = first(server);
  for (const name of ['flv', 'hls', 'dash', 'index']) {
    await page.goto(`${server}/${name}.html?level=360p`);
    const height = (wanted) => until(`${name} shows ${wanted} lines`, 25, () => page.evaluate((wanted) => (
      window.millstream.state === 'playing' && document.getElementById('video').videoHeight === wanted
    ), wanted));
    await height(rendition[1]);
    const menu = await page.evaluate(() => [...document.getElementById('level').options].map((option) => option.textContent));
    check(menu[1] === `Original (${source.join(' × ')})` && menu.at(-1) === `360p (${rendition.join(' × ')})`, `${name}: ${menu}`);
    check(await page.isVisible('#level'), `${name}: no menu`);
    await page.selectOption('#level', 'source');
    await height(source[1]);
    await page.selectOption('#level', '360p');
    await height(rendition[1]);
    const { errors, attempts } = await page.evaluate(() => ({ errors: window.millstream.errors, attempts: window.millstream.attempts }));
    check(!errors.some((error) => error.includes('fatal')), `${name}: ${errors}`);
    console.log(`${name}: ${menu.join(', ')}; ${attempts} attempts, errors: ${errors.join(' | ')}`);
  }
  await page.goto(`${server}/index.html?embed=1&level=360p`);
  await until('the frame plays', 25, () => page.evaluate((wanted) => document.getElementById('video').videoHeight === wanted, rendition[1]));
  check(!await page.isVisible('#level'), 'a menu in a frame');
});
