// Where a stream is played: as the API says; and of one that has no record (anyone may push, or it was removed), by where the nodes are reached.
import { get, seg } from './api.js';

export async function placesOf(id) {
  try {
    return (await get(`streams/${seg(id)}/addresses`)).items;
  } catch (problem) {
    if (problem.status !== 404) throw problem;
  }
  const { items } = await get('nodes');
  return items.filter((node) => node.http_url && !node.away).map((node) => {
    const http = `${node.http_url}/${seg(id)}/`;
    return { node: node.name, rtmp: null, page: `${http}index.html`, flv: `${http}live.flv`, hls: `${http}live.m3u8`, dash: `${http}manifest.mpd` };
  });
}
