// What a consumer writes with openapi-generator's typescript-axios. Run: URL PICTURE FOLDER

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { basename, join } from "node:path";
import {
  AuthApi,
  Configuration,
  FilesApi,
  type JobEvent,
  JobsApi,
  JobState,
  RenditionFitEnum,
  RenditionFormatEnum,
  UsersApi,
} from "./client";
import { allDataOf } from "./events";

async function logIn(url: string): Promise<Configuration> {
  const anonymous = new Configuration({ basePath: url });
  const email = "typescript-axios@example.com";
  const password = randomUUID();
  await new UsersApi(anonymous).register({ email, password });
  const { data: token } = await new AuthApi(anonymous).login(email, password);
  return new Configuration({ basePath: url, accessToken: token.access_token });
}

async function follow(jobs: JobsApi, jobId: string): Promise<JobEvent | undefined> {
  let last: JobEvent | undefined;
  const { data: text } = await jobs.jobEvents(jobId);
  for (const data of allDataOf(text)) {
    last = JSON.parse(data);
  }
  return last;
}

async function main(url: string, picture: string, folder: string): Promise<void> {
  const configuration = await logIn(url);
  const files = new FilesApi(configuration);
  const jobs = new JobsApi(configuration);

  const content = new File([await readFile(picture)], basename(picture));
  const { data: source } = await files.upload(content.name, content);
  assert.equal(source.size, content.size);

  const { data: job } = await jobs.submitImageTransform(
    {
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
    "thumbnail",
  );
  assert.equal(job.kind, "image.transform");
  assert.equal(job.priority, 5);

  const last = await follow(jobs, job.id);
  assert.equal(last?.state, JobState.Succeeded);
  assert((await jobs.getJob(job.id)).data.finished_at !== null);

  const { data: result } = await jobs.getJobResult(job.id);
  assert(result.kind === "image.transform");
  for (const rendition of result.output.renditions) {
    const { data: file } = await files.getFile(rendition.file);
    // Node.js has blobs in axios' fetch adapter only; a browser has them in each.
    const { data: bytes } = await files.download(rendition.file, null, null, null, null, {
      adapter: "fetch",
      responseType: "blob",
    });
    await writeFile(join(folder, file.name), bytes.stream());
    console.log(`${file.name} ${rendition.width} x ${rendition.height} ${file.content_type}`);
  }
}

const [url, picture, folder] = process.argv.slice(2);
void main(url, picture, folder);
