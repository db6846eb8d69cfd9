// Workers of other machines in the console: `node console_workers.mjs URL TOKEN`, with a node "edge-1" for which a worker "gpu-1" works, while "gpu-2" waits for one.
import { check, open } from './chromium.mjs';
import { apiOf, handles, step } from './console_page.mjs';

const [url, token] = process.argv.slice(2);
const api = apiOf(url, token);

await open(async ({ newPage }) => {
  const page = await newPage(url);
  const { go, logIn, accessible, narrow } = handles(page);
  await logIn(token);
  await page.waitForSelector('main h1');
  await go('#/server');

  step('sees which worker works for which node');
  const section = page.locator('section', { has: page.getByRole('heading', { name: 'Workers on other machines' }) });
  const row = (name) => section.locator('tbody tr', { hasText: name });
  const cell = (name, heading) => row(name).locator(`td[data-heading="${heading}"]`);
  await cell('gpu-1', 'State').getByText('at work').waitFor();
  check(await cell('gpu-1', 'Node').innerText() === 'edge-1', 'the node is not told');
  const { items } = await api('GET', 'workers');
  const first = items.find((worker) => worker.name === 'gpu-1');
  check(await cell('gpu-1', 'Cores').innerText() === String(first.cores) && first.cores > 0, 'the cores are other ones');
  check(await cell('gpu-1', 'Decodes').innerText() === first.decodes.join(', '), 'what it decodes is something else');
  check(await cell('gpu-1', 'Encodes with').innerText() === first.encoder, 'the encoder is another one');
  await cell('gpu-2', 'State').getByText('waits for a node').waitFor();
  check(await cell('gpu-2', 'Node').innerText() === '–', 'it has a node');
  const nodes = page.locator('section', { has: page.getByRole('heading', { name: 'Nodes', exact: true }) });
  await nodes.locator('tr', { hasText: 'edge-1' }).getByText('On another machine: gpu-1').waitFor();
  await accessible('workers');

  step('sees it in Chinese, on a phone');
  await page.selectOption('.taste select >> nth=0', 'zh');
  await page.getByRole('heading', { name: '其他机器上的转码进程' }).waitFor();
  await page.locator('tbody tr', { hasText: 'gpu-1' }).getByText('工作中').waitFor();
  await page.setViewportSize({ width: 390, height: 844 });
  await narrow('workers');
});
