"""Checksum lists in every form that publishers use."""

from __future__ import annotations

import pytest

from rum.host.errors import HostError
from rum.host.images.checksums import Checksum, find_checksum

SHA256 = "0123456789abcdef" * 4
SHA512 = SHA256 * 2
OTHER = "f" * 64

SIGNED = f"""\
-----BEGIN PGP SIGNED MESSAGE-----
Hash: SHA256

# Fedora-Cloud-Base-Generic-43-1.6.x86_64.qcow2: 583532544 bytes
SHA256 (Fedora-Cloud-Base-Generic-43-1.6.x86_64.qcow2) = {SHA256}
# Fedora-Cloud-Base-UEFI-UKI-43-1.6.x86_64.qcow2: 536870912 bytes
SHA256 (Fedora-Cloud-Base-UEFI-UKI-43-1.6.x86_64.qcow2) = {OTHER}
-----BEGIN PGP SIGNATURE-----

iQIzBAEBCAAdFiEExzYqsdGYg7pGOMdQCYyMl3U1Gr0FAmkAAAAACgkQCYyMl3U1
=abcd
-----END PGP SIGNATURE-----
"""


@pytest.mark.parametrize(
    ("text", "file", "algorithm"),
    [
        (f"{OTHER}  b.img\n{SHA256}  a.img\n", "a.img", "sha256"),
        (f"{SHA256} *a.img\n", "a.img", "sha256"),
        (f"{SHA512.upper()}  ./a.img\r\n", "a.img", "sha512"),
        (f"MD5 (a.img) = {'0' * 32}\nSHA512 (a.img) = {SHA512}\n", "a.img", "sha512"),
        (f"BLAKE2b (a.img) = {'0' * 128}\nSHA256 (a.img) = {SHA256}\n", "a.img", "sha256"),
        (SIGNED, "Fedora-Cloud-Base-Generic-43-1.6.x86_64.qcow2", "sha256"),
    ],
    ids=["GNU", "binary", "512", "BSD", "another algorithm", "signed"],
)
def test_forms(text: str, file: str, algorithm: str) -> None:
    assert find_checksum(text, file, "SUMS") == Checksum(algorithm, SHA256 if algorithm == "sha256" else SHA512)


def test_a_file_s_own_list_may_name_the_build_that_it_is() -> None:
    text = f"{SHA256}  Leap-16.0-Minimal-VM.x86_64-16.0.0-Cloud-Build16.2.qcow2\n"
    where = "https://publisher.example/Leap-16.0-Minimal-VM.x86_64-Cloud.qcow2.sha256"
    assert find_checksum(text, "Leap-16.0-Minimal-VM.x86_64-Cloud.qcow2", where).digest == SHA256


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("", "https://publisher.example/a.img.sha256"),
        ("<html>404</html>", "https://publisher.example/a.img.sha256"),
        (f"{SHA256}  b.img\n", "https://publisher.example/SHA256SUMS"),
        (f"{SHA256}  b.img\n{OTHER}  c.img\n", "https://publisher.example/a.img.sha256"),
        (f"{SHA256[:-1]}  a.img\n", "https://publisher.example/SHA256SUMS"),
    ],
)
def test_what_a_list_does_not_say_is_an_error(text: str, where: str) -> None:
    with pytest.raises(HostError) as caught:
        find_checksum(text, "a.img", where)
    assert str(caught.value) == f"{where} has no checksum of a.img"
