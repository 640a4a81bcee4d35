"""S3's errors, in the XML that S3 answers with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from xml.sax.saxutils import escape


class S3Error(Exception):
    """The object store refuses: HTTP status, S3's code and message, and further elements."""

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
        self.details = dict(details or {})
        self.headers = dict(headers or {})

    def xml(self, request_id: str) -> bytes:
        """The answer's body."""
        elements = {
            "Code": self.code,
            "Message": self.message,
            **self.details,
            "RequestId": request_id,
        }
        inner = "".join(f"<{name}>{_text(text)}</{name}>" for name, text in elements.items())
        return f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{inner}</Error>'.encode()

    @classmethod
    def bad_query(cls, message: str) -> S3Error:
        """A presigned query that cannot be read."""
        return cls(400, "AuthorizationQueryParametersError", message)

    @classmethod
    def two_mechanisms(cls) -> S3Error:
        """An Authorization header beside a presigned query."""
        return cls(
            400,
            "InvalidArgument",
            "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature"
            " query string parameter or the Authorization header should be specified",
            {"ArgumentName": "Authorization"},
        )

    @classmethod
    def unknown_key(cls, access_key: str) -> S3Error:
        """A signature by an access key that is not ours."""
        return cls(
            403,
            "InvalidAccessKeyId",
            "The AWS Access Key Id you provided does not exist in our records.",
            {"AWSAccessKeyId": access_key},
        )

    @classmethod
    def expired(cls, seconds: int, ended: datetime, now: datetime) -> S3Error:
        """A URL whose time is over."""
        return cls(
            403,
            "AccessDenied",
            "Request has expired",
            {
                "X-Amz-Expires": str(seconds),
                "Expires": f"{ended:%Y-%m-%dT%H:%M:%SZ}",
                "ServerTime": f"{now:%Y-%m-%dT%H:%M:%SZ}",
            },
        )

    @classmethod
    def headers_not_signed(cls, names: Iterable[str]) -> S3Error:
        """An ``x-amz-`` header that the signature does not cover."""
        return cls(
            403,
            "AccessDenied",
            "There were headers present in the request which were not signed",
            {"HeadersNotSigned": ", ".join(names)},
        )

    @classmethod
    def signature_does_not_match(
        cls, access_key: str, text: str, provided: str, canonical: str
    ) -> S3Error:
        """A wrong signature; S3 shows what it signed itself, and so do we."""
        return cls(
            403,
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you provided."
            " Check your key and signing method.",
            {
                "AWSAccessKeyId": access_key,
                "StringToSign": text,
                "SignatureProvided": provided,
                "CanonicalRequest": canonical,
            },
        )

    @classmethod
    def no_such_key(cls, key: str) -> S3Error:
        """Nothing is stored there."""
        return cls(404, "NoSuchKey", "The specified key does not exist.", {"Key": key})

    @classmethod
    def no_such_upload(cls, upload_id: str) -> S3Error:
        """The multipart upload is unknown, or completed."""
        return cls(
            404,
            "NoSuchUpload",
            "The specified upload does not exist. The upload ID may be invalid, or the upload may"
            " have been aborted or completed.",
            {"UploadId": upload_id},
        )

    @classmethod
    def invalid_range(cls, asked: str, size: int) -> S3Error:
        """A range that begins behind the end."""
        return cls(
            416,
            "InvalidRange",
            "The requested range is not satisfiable",
            {"RangeRequested": asked, "ActualObjectSize": str(size)},
            {"Content-Range": f"bytes */{size}"},
        )


def _text(text: str) -> str:
    # XML has no way to write control characters and lone surrogates.
    return escape("".join(char if char.isprintable() or char in "\t\n" else "?" for char in text))
