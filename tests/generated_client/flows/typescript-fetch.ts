// What a consumer writes with openapi-generator's typescript-fetch. Run: URL PICTURE FOLDER

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import {
  AuthApi,
  Configuration,
  FilesApi,
  type JobEvent,
  JobEventFromJSON,
  JobsApi,
  JobState,
  RenditionFitEnum,
  RenditionFormatEnum,
  UsersApi,
} from "./client";
import { dataOf } from "./events";

async function logIn(url: string): Promise<Configuration> {
  const anonymous = new Configuration({ basePath: url });
  const email = "typescript-fetch@example.com";
  const password = randomUUID();
  await new UsersApi(anonymous).register({ userCreate: { email, password } });
  const token = await new AuthApi(anonymous).login({ username: email, password });
  // For OAuth 2.0, the generator leaves the scheme to its user.
  return new Configuration({ basePath: url, accessToken: `Bearer ${token.accessToken}` });
}

async function follow(jobs: JobsApi, jobId: string): Promise<JobEvent | undefined> {
  let last: JobEvent | undefined;
  const { raw } = await jobs.jobEventsRaw({ jobId });
  assert(raw.body);
  for await (const data of dataOf(raw.body)) {
    last = JobEventFromJSON(JSON.parse(data));
  }
  return last;
}

async function main(url: string, picture: string, folder: string): Promise<void> {
  const configuration = await logIn(url);
  const files = new FilesApi(configuration);
  const jobs = new JobsApi(configuration);

  const content = new Blob([await readFile(picture)]);
  const source = await files.upload({ name: basename(picture), body: content });
  assert.equal(source.size, content.size);

  const job = await jobs.submitImageTransform({
    idempotencyKey: "thumbnail",
    imageTransformSubmission: {
      priority: 5,
      spec: {
        source: source.id,
        renditions: [
          {
            name: "thumbnail",
            format: RenditionFormatEnum.Webp,
            width: 96,
            height: 96,
            fit: RenditionFitEnum.Cover,
          },
        ],
      },
    },
  });
  assert.equal(job.kind, "image.transform");
  assert.equal(job.priority, 5);

  const last = await follow(jobs, job.id);
  assert.equal(last?.state, JobState.Succeeded);
  assert((await jobs.getJob({ jobId: job.id })).finishedAt instanceof Date);

  const result = await jobs.getJobResult({ jobId: job.id });
  assert(result.kind === "image.transform");
  for (const rendition of result.output.renditions) {
    const file = await files.getFile({ fileId: rendition.file });
    const bytes = await files.download({ fileId: rendition.file });
    await writeFile(join(folder, file.name), bytes.stream());
    console.log(`${file.name} ${rendition.width} x ${rendition.height} ${file.contentType}`);
  }
}

const [url, picture, folder] = process.argv.slice(2);
void main(url, picture, folder);
