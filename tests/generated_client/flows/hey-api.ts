// What a consumer writes with @hey-api/openapi-ts. Run: URL PICTURE FOLDER

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import {
  download,
  getFile,
  getJob,
  getJobResult,
  type JobEvent,
  login,
  register,
  submitImageTransform,
  upload,
} from "./client";
import { client } from "./client/client.gen";

// In each call: it is what the types of the answers depend on.
const throwOnError = true;

async function logIn(): Promise<void> {
  const email = "hey-api@example.com";
  const password = randomUUID();
  await register({ body: { email, password }, throwOnError });
  const body = { username: email, password };
  const { data: token } = await login({ body, throwOnError });
  client.setConfig({ auth: token.access_token });
}

async function follow(jobId: string): Promise<JobEvent | undefined> {
  let last: JobEvent | undefined;
  // Before OpenAPI 3.2 no document says what the events of a stream are: its user does.
  const { stream } = await client.sse.get<{ 200: JobEvent }>({
    url: "/api/v1/jobs/{job_id}/events",
    path: { job_id: jobId },
    security: [{ scheme: "bearer", type: "http" }],
  });
  for await (const event of stream) {
    last = event;
  }
  return last;
}

async function main(picture: string, folder: string): Promise<void> {
  await logIn();

  const content = new Blob([await readFile(picture)]);
  const { data: source } = await upload({
    query: { name: basename(picture) },
    body: content,
    throwOnError,
  });
  assert.equal(source.size, content.size);

  const { data: job } = await submitImageTransform({
    headers: { "Idempotency-Key": "thumbnail" },
    body: {
      priority: 5,
      spec: {
        source: source.id,
        renditions: [{ name: "thumbnail", format: "webp", width: 96, height: 96, fit: "cover" }],
      },
    },
    throwOnError,
  });
  assert.equal(job.kind, "image.transform");
  assert.equal(job.priority, 5);
  const path = { job_id: job.id };

  assert.equal((await follow(job.id))?.state, "succeeded");
  assert((await getJob({ path, throwOnError })).data.finished_at !== null);

  const { data: result } = await getJobResult({ path, throwOnError });
  assert(result.kind === "image.transform");
  for (const rendition of result.output.renditions) {
    const path = { file_id: rendition.file };
    const { data: file } = await getFile({ path, throwOnError });
    const { data: bytes } = await download({ path, throwOnError });
    await writeFile(join(folder, file.name), bytes.stream());
    console.log(`${file.name} ${rendition.width} x ${rendition.height} ${file.content_type}`);
  }
}

const [url, picture, folder] = process.argv.slice(2);
client.setConfig({ baseUrl: url });
void main(picture, folder);
