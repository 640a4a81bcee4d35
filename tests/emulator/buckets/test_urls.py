"""URLs go out byte for byte as boto3 made them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from plugin_framework.emulator.buckets import BucketAddress, connect
from plugin_framework.emulator.buckets.urls import BucketUrls
from plugin_framework.emulator.pending import Upload

UPLOAD = Upload(
    "upload_1", "s", "some/ where+%2f", "name", 9, 2, multipart=True, chunk=5, store_id="a+b/="
)


@pytest.fixture
def address(request: pytest.FixtureRequest) -> BucketAddress:
    return BucketAddress.of(
        "s3://b.u-cket/pre fix".replace(" ", "-"), "http://127.0.0.1:9", request.param
    )


@pytest.fixture
def client(address: BucketAddress, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    client = connect(address)
    yield client
    client.close()


@pytest.mark.parametrize("address", ["s3", "s3-v2"], indirect=True)
def test_they_are_those_of_boto3(client: Any, address: BucketAddress) -> None:
    urls = BucketUrls(client, address, 600)
    place = {"Bucket": "b.u-cket", "Key": UPLOAD.key}

    def ours() -> list[str]:
        return [*urls.uploads(UPLOAD), urls.download(UPLOAD.key)]

    def theirs() -> list[str]:
        parts = [{**place, "UploadId": "a+b/=", "PartNumber": number} for number in (1, 2)]
        made = [client.generate_presigned_url("upload_part", each, 600) for each in parts]
        return [*made, client.generate_presigned_url("get_object", place, 600)]

    for _ in range(20):  # they hold the time, which may have moved on between the two
        if (found := ours()) == theirs():
            break
    assert found == theirs() or ours() == theirs()
    assert all(url.startswith("http://127.0.0.1:9/b.u-cket/some/") for url in found)
    assert not any("checksum" in url.lower() for url in found)
    assert urls.address(UPLOAD.key) == found[0].partition("?")[0]
