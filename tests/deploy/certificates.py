"""Certificates as cert-manager issues them: an authority, and a certificate after a manifest of kind Certificate."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

USAGES = {"server auth": ExtendedKeyUsageOID.SERVER_AUTH, "client auth": ExtendedKeyUsageOID.CLIENT_AUTH}


SERVICES = Path(__file__).parents[2] / "deploy" / "services"
FILES = ("cert-manager/internal.yaml", "jenkins/certificate.yaml")


def internal() -> list[dict[str, Any]]:
    """Return the manifests of issuers and certificates inside the cluster."""
    return [d for file in FILES for d in yaml.safe_load_all((SERVICES / file).read_text(encoding="utf-8"))]


def certificate(namespace: str, name: str) -> dict[str, Any]:
    """Return the spec of a certificate inside the cluster."""
    (spec,) = (
        manifest["spec"]
        for manifest in internal()
        if manifest["kind"] == "Certificate" and manifest["metadata"] == {"name": name, "namespace": namespace}
    )
    return dict(spec)


def issue(folder: Path, spec: dict[str, Any]) -> None:
    """Write the Secret of a Certificate: ca.crt, tls.crt and tls.key."""
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority_name = _name("authority")
    authority = _builder(authority_name, authority_name, authority_key).add_extension(
        x509.BasicConstraints(ca=True, path_length=None), critical=True
    )
    addresses = [x509.IPAddress(ip_address(address)) for address in spec.get("ipAddresses", [])]
    names = [x509.DNSName(name) for name in spec.get("dnsNames", [])]
    usages = [USAGES[usage] for usage in spec["usages"] if usage in USAGES]
    certificate = (
        _builder(_name(spec.get("commonName", "")), authority_name, key)
        .add_extension(x509.SubjectAlternativeName([*names, *addresses]), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
    )
    for name, built in (("ca.crt", authority), ("tls.crt", certificate)):
        (folder / name).write_bytes(built.sign(authority_key, hashes.SHA256()).public_bytes(Encoding.PEM))
    (folder / "tls.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)] if common_name else [])


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder(subject_name=subject, issuer_name=issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
    )
