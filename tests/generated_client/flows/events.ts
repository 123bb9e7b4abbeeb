// For generators that hand out the stream of a job's events as it is.

/** The data of each event, as it comes. */
export async function* dataOf(stream: ReadableStream<BufferSource>): AsyncGenerator<string> {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const lines = (rest + text).split("\n");
    rest = lines.pop() ?? "";
    yield* dataIn(lines);
  }
}

/** The data of all events, in the text that the stream was. */
export function allDataOf(text: string): string[] {
  return dataIn(text.split("\n"));
}

function dataIn(lines: string[]): string[] {
  const prefix = "data: ";
  return lines.filter((line) => line.startsWith(prefix)).map((line) => line.slice(prefix.length));
}
