"""What object stores refuse with: one error for all, since their codes are the same."""

from __future__ import annotations

from collections.abc import Mapping


class ObjectStoreError(Exception):
    """The object store refuses: HTTP status, its code and message, and further elements."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        details: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{status} {code}")
        self.status = status
        self.code = code
        self.message = message
        self.details: dict[str, str] = dict(details or {})
        self.headers: dict[str, str] = dict(headers or {})

    @classmethod
    def two_mechanisms(cls) -> ObjectStoreError:
        """An Authorization header beside a presigned query, or two signatures in it."""
        return cls(
            400,
            "InvalidArgument",
            "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature"
            " query string parameter or the Authorization header should be specified",
            {"ArgumentName": "Authorization"},
        )

    @classmethod
    def no_such_key(cls, key: str) -> ObjectStoreError:
        """Nothing is stored there."""
        return cls(404, "NoSuchKey", "The specified key does not exist.", {"Key": key})

    @classmethod
    def no_such_upload(cls, upload_id: str) -> ObjectStoreError:
        """The multipart upload is unknown, or completed."""
        return cls(
            404,
            "NoSuchUpload",
            "The specified upload does not exist. The upload ID may be invalid, or the upload may"
            " have been aborted or completed.",
            {"UploadId": upload_id},
        )

    @classmethod
    def invalid_range(cls, asked: str, size: int) -> ObjectStoreError:
        """A range that begins behind the end."""
        return cls(
            416,
            "InvalidRange",
            "The requested range is not satisfiable",
            {"RangeRequested": asked, "ActualObjectSize": str(size)},
            {"Content-Range": f"bytes */{size}"},
        )
