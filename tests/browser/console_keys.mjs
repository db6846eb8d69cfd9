// The console by the keyboard alone: `node console_keys.mjs URL TOKEN`. Whatever has the focus is seen, and says what it is.
import { check, open, until } from './chromium.mjs';
import { apiOf, handles, step } from './console_page.mjs';

const [url, token] = process.argv.slice(2);
const STEPS_MAX = 90;
const api = apiOf(url, token);

await open(async ({ newPage }) => {
  const { items: [{ http_url: play }] } = await api('GET', 'nodes');
  const page = await newPage(url, [play]);
  const { main } = handles(page);
  const { keyboard } = page;
  // What has the focus: what it is called, where it is, and whether it is marked.
  const focused = () => page.evaluate(() => {
    const element = document.activeElement;
    const box = element.getBoundingClientRect();
    const label = element.labels?.[0]?.innerText ?? '';
    return {
      tag: element.tagName.toLowerCase(),
      name: (element.getAttribute('aria-label') || label || element.innerText || element.getAttribute('name') || '').trim(),
      field: element.getAttribute('name'),
      link: element.getAttribute('href'),
      isSeen: box.width > 0 && box.height > 0 && box.bottom > 0 && box.top < innerHeight,
      isMarked: getComputedStyle(element).outlineStyle !== 'none',
      inDialog: Boolean(element.closest('dialog')),
    };
  });
  // The tabulator until something has the focus.
  const reach = async (what, wanted, key = 'Tab') => {
    for (let steps = 0; steps < STEPS_MAX; steps += 1) {
      await keyboard.press(key);
      const now = await focused();
      if (now.tag !== 'body' && now.tag !== 'html' && now.tag !== 'iframe') {
        check(now.isSeen, `the focus is on what nobody sees: ${JSON.stringify(now)}`);
        check(now.isMarked, `nobody sees where the focus is: ${JSON.stringify(now)}`);
        check(now.name, `it has no name: ${JSON.stringify(now)}`);
      }
      if (wanted(now)) return now;
    }
    throw new Error(`the tabulator does not reach ${what}`);
  };
  const link = (hash) => (now) => now.link === hash;
  const button = (text) => (now) => now.tag === 'button' && now.name.startsWith(text);
  const field = (name) => (now) => now.field === name;

  step('logs in');
  await page.waitForSelector('input[name=token]');
  check((await focused()).field === 'token', 'the focus is not where one begins');
  await keyboard.type(token);
  await keyboard.press('Enter');
  await page.waitForSelector('.empty');

  step('leaves the menu out');
  await reach('the way past the menu', (now) => now.link === '#main');
  await keyboard.press('Enter');
  check(await page.evaluate(() => document.activeElement.id) === 'main', 'the way past the menu leads nowhere');

  step('makes a stream');
  await reach('the list of streams', link('#/streams'), 'Shift+Tab');
  await keyboard.press('Enter');
  await page.waitForSelector('h1:has-text("Streams")');
  await until('the focus is at the new view', 5, () => page.evaluate(() => document.activeElement.id === 'main'));
  await reach('the button that makes one', button('Create stream'));
  await keyboard.press('Enter');
  await page.waitForSelector('dialog');
  check((await focused()).inDialog, 'the focus is not in the dialog');
  await keyboard.press('Escape');
  await page.waitForSelector('dialog', { state: 'detached' });
  await until('the focus is back at the button', 5, async () => button('Create stream')(await focused()));
  await keyboard.press('Enter');
  await page.waitForSelector('dialog');
  if (!field('id')(await focused())) await reach('its id', field('id'));
  await keyboard.type('hall');
  // The focus stays in the dialog.
  for (let steps = 0; steps < 12; steps += 1) {
    await keyboard.press('Tab');
    const now = await focused();
    check(now.inDialog || now.tag === 'body', `the focus leaves the dialog: ${JSON.stringify(now)}`);
  }
  await reach('its id', field('id'));
  await keyboard.press('Enter');
  await page.waitForSelector('h1:has-text("hall")');

  step('shows the key and changes a setting');
  await reach('the whole address', button('Show: Whole push URL'));
  await keyboard.press('Enter');
  await until('the address is shown', 5, async () => (await main()).includes('sign='));
  await reach('the settings', link('#/streams/hall/settings'), 'Shift+Tab');
  await keyboard.press('Enter');
  await page.waitForSelector('input[name=videoname]');
  await reach('the name', field('videoname'));
  await keyboard.type('The hall');
  await reach('the button that saves', button('Save'));
  await keyboard.press('Enter');
  await until('it is saved', 5, async () => (await api('GET', 'streams/hall')).settings.videoname === 'The hall');

  step('removes it, on second thoughts');
  await reach('the button that removes', button('Delete'), 'Shift+Tab');
  await keyboard.press('Enter');
  await page.waitForSelector('dialog');
  await keyboard.press('Escape');
  await page.waitForSelector('dialog', { state: 'detached' });
  await until('the focus is back at the button', 5, async () => button('Delete')(await focused()));
  await keyboard.press('Enter');
  await page.waitForSelector('dialog');
  await reach('the one that does it', (now) => now.inDialog && button('Delete')(now));
  await keyboard.press('Enter');
  await page.waitForSelector('.empty');
  check((await api('GET', 'streams')).items.length === 0, 'the stream is still there');

  step('chooses a language and leaves');
  await reach('the language', (now) => now.tag === 'select' && now.name === 'Language', 'Shift+Tab');
  await keyboard.press('ArrowDown');
  await page.waitForSelector('h1:has-text("直播流"), h1:not(:has-text("Streams"))');
  await reach('the way out', (now) => now.tag === 'button' && /退出/.test(now.name));
  await keyboard.press('Enter');
  await page.waitForSelector('input[name=token]');
});
