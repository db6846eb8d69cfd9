import type { paths } from "./api";

type NewStream = paths["/api/v1/streams"]["post"]["requestBody"]["content"]["application/json"];
type Stream = paths["/api/v1/streams"]["post"]["responses"]["201"]["content"]["application/json"];
type Key = paths["/api/v1/streams/{id}/key"]["get"]["responses"]["200"]["content"]["application/json"];

export async function make(base: string, token: string, stream: NewStream): Promise<[Stream, Key]> {
    const headers = { Authorization: `Bearer ${token}`, "Content-Type": "application/json" };
    const made = await fetch(`${base}/api/v1/streams`, { method: "POST", headers, body: JSON.stringify(stream) });
    const answer = (await made.json()) as Stream;
    const key = (await (await fetch(`${base}/api/v1/streams/${answer.id}/key`, { headers })).json()) as Key;
    return [answer, key];
}
