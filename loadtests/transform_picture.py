from hashlib import sha256

from loadtests._answers import File
from loadtests._jobs import JobScenario, require_success
from loadtests._pictures import png, png_size
from loadtests._scenario import journey


class TransformPicture(JobScenario):
    """Upload a picture, have it transformed, download what was made, clear up."""

    @journey("jobs", "files")
    def transform(self) -> None:
        picture = png(self.settings.picture_width, self.settings.picture_height)
        with self.api.ask(
            "POST", "/files", status=201, query="?name=mine.png", body=picture, headers=self.bearer
        ) as answer:
            file = answer.read(File)
            answer.require(file.size == len(picture), "a file of another length")
            answer.require(file.sha256 == sha256(picture).hexdigest(), "other bytes than sent")
        with self.job(file.id) as submitted:
            job = self.poll(submitted)
            require_success(job.state, job.error)
        self.report_wait(job)
        made = self.result(job)
        small = made["small"]
        self.download(
            small,
            lambda answer: answer.require(
                png_size(answer.content) == (small.width, small.height), "a picture of another size"
            ),
        )
        for file_id in (file.id, *(rendition.file for rendition in made.values())):
            self.delete_file(file_id)
