// What a consumer writes with openapi-typescript-codegen. Run: URL PICTURE FOLDER

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { basename } from "node:path";
import {
  AuthService,
  FilesService,
  type JobEvent,
  JobsService,
  JobState,
  LoginForm,
  OpenAPI,
  Rendition,
  UsersService,
} from "./client";
import { allDataOf } from "./events";

async function logIn(): Promise<void> {
  const email = "openapi-typescript-codegen@example.com";
  const password = randomUUID();
  await UsersService.register({ email, password });
  const token = await AuthService.login({ username: email, password });
  OpenAPI.TOKEN = token.access_token;
}

async function follow(jobId: string): Promise<JobEvent | undefined> {
  let last: JobEvent | undefined;
  for (const data of allDataOf(await JobsService.jobEvents(jobId))) {
    last = JSON.parse(data);
  }
  return last;
}

async function main(picture: string): Promise<void> {
  await logIn();

  const content = new Blob([await readFile(picture)]);
  const source = await FilesService.upload(basename(picture), content);
  assert.equal(source.size, content.size);

  const job = await JobsService.submitImageTransform(
    {
      priority: 5,
      spec: {
        source: source.id,
        renditions: [
          {
            name: "thumbnail",
            format: Rendition.format.WEBP,
            width: 96,
            height: 96,
            fit: Rendition.fit.COVER,
          },
        ],
      },
    },
    "thumbnail",
  );
  assert.equal(job.kind, "image.transform");
  assert.equal(job.priority, 5);

  const last = await follow(job.id);
  assert.equal(last?.state, JobState.SUCCEEDED);
  assert((await JobsService.getJob(job.id)).finished_at !== null);

  const result = await JobsService.getJobResult(job.id);
  // The generator takes the constant `kind` for any text, which tells no forms apart.
  assert("renditions" in result.output);
  for (const rendition of result.output.renditions) {
    // The generator's client reads every body as text, so no picture can be downloaded with it.
    const file = await FilesService.getFile(rendition.file);
    console.log(`${file.name} ${rendition.width} x ${rendition.height} ${file.content_type}`);
  }
}

const [url, picture] = process.argv.slice(2);
OpenAPI.BASE = url;
void main(picture);
