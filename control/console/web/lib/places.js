// Where a stream is played: as the API says; and of one that has no record (anyone may push, or it was removed), by where all streams are.
import { get, seg } from './api.js';
import { t } from './text.js';

export async function placesOf(id) {
  try {
    return (await get(`streams/${seg(id)}/addresses`)).items;
  } catch (problem) {
    if (problem.status !== 404) throw problem;
  }
  const { items } = await get('addresses');
  return items.filter((place) => place.http_url).map((place) => {
    const http = `${place.http_url}/${seg(id)}/`;
    return { node: place.node, rtmp: null, page: `${http}index.html`, flv: `${http}live.flv`, hls: `${http}live.m3u8`, dash: `${http}manifest.mpd` };
  });
}

// Where a node serves what belongs to a stream: beside its player page. Of the node that recorded it, or the fleet's.
export async function baseOf(stream, node) {
  const items = await placesOf(stream);
  const one = items.find((item) => item.node === node && item.page) ?? items.find((item) => item.page);
  if (!one) throw new Error(t('no_play_address'));
  return new URL('.', one.page).href;
}
