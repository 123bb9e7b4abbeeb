// What a consumer writes with openapi-typescript and openapi-fetch. Run: URL PICTURE FOLDER

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import createClient, { type Client } from "openapi-fetch";
import type { components, paths } from "./client";
import { dataOf } from "./events";

type JobEvent = components["schemas"]["JobEvent"];
type Problem = components["schemas"]["Problem"];

function granted<Data>(answer: { data?: Data; error?: Problem }): Data {
  assert(answer.data !== undefined, answer.error?.detail);
  return answer.data;
}

async function logIn(client: Client<paths>): Promise<void> {
  const email = "openapi-typescript@example.com";
  const password = randomUUID();
  granted(await client.POST("/api/v1/users", { body: { email, password } }));
  const token = granted(
    await client.POST("/api/v1/auth/login", {
      body: { username: email, password },
      headers: { "Content-Type": "application/x-www-form-urlencoded" },
    }),
  );
  client.use({
    onRequest({ request }) {
      request.headers.set("Authorization", `Bearer ${token.access_token}`);
    },
  });
}

async function follow(client: Client<paths>, jobId: string): Promise<JobEvent | undefined> {
  let last: JobEvent | undefined;
  const stream = granted(
    await client.GET("/api/v1/jobs/{job_id}/events", {
      params: { path: { job_id: jobId } },
      parseAs: "stream",
    }),
  );
  assert(stream);
  for await (const data of dataOf(stream)) {
    last = JSON.parse(data);
  }
  return last;
}

async function main(url: string, picture: string, folder: string): Promise<void> {
  const client = createClient<paths>({ baseUrl: url });
  await logIn(client);

  const content = await readFile(picture);
  const source = granted(
    await client.POST("/api/v1/files", {
      params: { query: { name: basename(picture) } },
      body: content.toString("latin1"),
      bodySerializer: () => content,
      headers: { "Content-Type": "application/octet-stream" },
    }),
  );
  assert.equal(source.size, content.length);

  const job = granted(
    await client.POST("/api/v1/jobs/image.transform", {
      params: { header: { "Idempotency-Key": "thumbnail" } },
      body: {
        priority: 5,
        spec: {
          source: source.id,
          renditions: [{ name: "thumbnail", format: "webp", width: 96, height: 96, fit: "cover" }],
        },
      },
    }),
  );
  assert.equal(job.kind, "image.transform");
  assert.equal(job.priority, 5);
  const ofJob = { params: { path: { job_id: job.id } } };

  assert.equal((await follow(client, job.id))?.state, "succeeded");
  assert(granted(await client.GET("/api/v1/jobs/{job_id}", ofJob)).finished_at !== null);

  const result = granted(await client.GET("/api/v1/jobs/{job_id}/result", ofJob));
  assert(result.kind === "image.transform");
  for (const rendition of result.output.renditions) {
    const ofFile = { params: { path: { file_id: rendition.file } } };
    const file = granted(await client.GET("/api/v1/files/{file_id}", ofFile));
    const bytes = granted(
      await client.GET("/api/v1/files/{file_id}/content", { ...ofFile, parseAs: "blob" }),
    );
    await writeFile(join(folder, file.name), bytes.stream());
    console.log(`${file.name} ${rendition.width} x ${rendition.height} ${file.content_type}`);
  }
}

const [url, picture, folder] = process.argv.slice(2);
void main(url, picture, folder);
