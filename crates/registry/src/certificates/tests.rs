use std::{os::unix::fs::PermissionsExt as _, path::Path, sync::Arc};

use fs_err as fs;
use rustls::{
    ClientConnection, Error, RootCertStore, ServerConfig, ServerConnection,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    server::WebPkiClientVerifier,
};

use super::{Certificates, names, provider};
use crate::environment;

const AUTHORITY: &str = include_str!("fixtures/authority.crt");
const SERVER: (&str, &str) = (include_str!("fixtures/server.crt"), include_str!("fixtures/server.key"));
/// Says of itself that it is an authority.
const SELF_SIGNED: (&str, &str) =
    (include_str!("fixtures/self-signed.crt"), include_str!("fixtures/self-signed.key"));

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn of(root: &Path) -> Certificates {
    Certificates::load(&environment::of(&[], root))
}

/// A server that wants a client certificate of the authority when told so.
fn server((certificate, key): (&str, &str), asks: bool) -> ServerConnection {
    let builder =
        ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    let builder = if asks {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(AUTHORITY.as_bytes()).unwrap()).unwrap();
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).build().unwrap();
        builder.with_client_cert_verifier(verifier)
    } else {
        builder.with_no_client_auth()
    };
    let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
    let config =
        builder.with_single_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap()).unwrap();
    ServerConnection::new(Arc::new(config)).unwrap()
}

/// Both sides of a handshake in memory; what either side says against it.
fn shake(
    certificates: &Certificates,
    name: &str,
    verify: bool,
    mut server: ServerConnection,
) -> Result<(), Error> {
    let config = certificates.client_config("reg.example:5000", verify).unwrap();
    let mut client = ClientConnection::new(config, ServerName::try_from(name.to_owned()).unwrap()).unwrap();
    for _ in 0..8 {
        let mut wire = Vec::new();
        while client.wants_write() {
            client.write_tls(&mut wire).unwrap();
        }
        let mut rest = wire.as_slice();
        while !rest.is_empty() {
            server.read_tls(&mut rest).unwrap();
            server.process_new_packets()?;
        }
        wire.clear();
        while server.wants_write() {
            server.write_tls(&mut wire).unwrap();
        }
        let mut rest = wire.as_slice();
        while !rest.is_empty() {
            client.read_tls(&mut rest).unwrap();
            client.process_new_packets()?;
        }
    }
    assert!(!client.is_handshaking() && !server.is_handshaking());
    Ok(())
}

#[test]
fn an_authority_in_certs_d_is_trusted_for_its_registry() {
    for folder in ["etc/docker", "etc/containers", "home/.config/containers", "home/.config/docker"] {
        let root = tempfile::tempdir().unwrap();
        let distrust = shake(&of(root.path()), "reg.example", true, server(SERVER, false));
        assert!(matches!(distrust, Err(Error::InvalidCertificate(_))), "{distrust:?}");
        write(root.path(), &format!("{folder}/certs.d/reg.example:5000/ca.crt"), AUTHORITY);
        shake(&of(root.path()), "reg.example", true, server(SERVER, false)).unwrap();
        let other_name = shake(&of(root.path()), "other.example", true, server(SERVER, false));
        assert!(matches!(other_name, Err(Error::InvalidCertificate(_))), "{other_name:?}");
    }
}

#[test]
fn a_folder_is_for_its_port_alone() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "etc/docker/certs.d/reg.example/ca.crt", AUTHORITY);
    assert!(shake(&of(root.path()), "reg.example", true, server(SERVER, false)).is_err());
    assert_eq!(names("a.example:5000"), ["a.example:5000"]);
    assert_eq!(names("a.example:443"), ["a.example", "a.example:443"]);
    assert_eq!(names("[::1]:5000"), ["[::1]:5000"]);
    assert_eq!(
        names("registry-1.docker.io"),
        ["registry-1.docker.io", "registry-1.docker.io:443", "docker.io"]
    );
}

#[test]
fn a_certificate_that_signed_itself_can_be_trusted_itself() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "etc/docker/certs.d/reg.example:5000/reg.crt", SELF_SIGNED.0);
    shake(&of(root.path()), "reg.example", true, server(SELF_SIGNED, false)).unwrap();
    assert!(shake(&of(root.path()), "other.example", true, server(SELF_SIGNED, false)).is_err());
    assert!(shake(&of(root.path()), "reg.example", true, server(SERVER, false)).is_err());
}

#[test]
fn insecure_takes_any_certificate() {
    let root = tempfile::tempdir().unwrap();
    shake(&of(root.path()), "other.example", false, server(SELF_SIGNED, false)).unwrap();
    shake(&of(root.path()), "127.0.0.1", false, server(SERVER, false)).unwrap();
}

#[test]
fn a_client_certificate_says_who_we_are() {
    let root = tempfile::tempdir().unwrap();
    let folder = "etc/containers/certs.d/reg.example:5000";
    write(root.path(), &format!("{folder}/ca.crt"), AUTHORITY);
    assert!(shake(&of(root.path()), "reg.example", true, server(SERVER, true)).is_err());
    write(root.path(), &format!("{folder}/client.cert"), SERVER.0);
    write(root.path(), &format!("{folder}/client.key"), SERVER.1);
    shake(&of(root.path()), "reg.example", true, server(SERVER, true)).unwrap();
}

#[test]
fn wrong_files_are_named_and_not_quoted() {
    let folder = "etc/docker/certs.d/reg.example:5000";
    let key_with = |text: &str| vec![("c.cert", SERVER.0.to_owned()), ("c.key", text.to_owned())];
    let cases = [
        (vec![("a.crt", "hunter2".to_owned())], "a.crt", "it holds no certificate in PEM form"),
        (
            vec![("a.cert", SERVER.0.to_owned())],
            "a.cert",
            "there is no key beside this client certificate: put it there with the same name and .key, or name the \
             file .crt when it is an authority's",
        ),
        (
            vec![("a.key", SERVER.1.to_owned())],
            "a.key",
            "there is no certificate beside this key: put it there with the same name and .cert",
        ),
        (key_with("hunter2"), "c.key", "it holds no private key in PEM form"),
    ];
    for (files, path, reason) in cases {
        let root = tempfile::tempdir().unwrap();
        for (name, text) in files {
            write(root.path(), &format!("{folder}/{name}"), &text);
        }
        let error = of(root.path()).client_config("reg.example:5000", true).unwrap_err();
        let path = root.path().join(folder).join(path);
        assert_eq!(error.to_string(), format!("{} is wrong: {reason}", path.display()));
        of(root.path()).client_config("other.example", true).unwrap();
    }
    let root = tempfile::tempdir().unwrap();
    for (name, text) in key_with(SELF_SIGNED.1) {
        write(root.path(), &format!("{folder}/{name}"), &text);
    }
    let error = of(root.path()).client_config("reg.example:5000", true).unwrap_err().to_string();
    assert!(error.contains("c.key is wrong: it is not the key of"), "{error}");
}

#[test]
fn variables_name_the_only_authorities() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "own/authority.pem", AUTHORITY);
    let (file, folder) = (root.path().join("own/authority.pem"), root.path().join("own"));
    let of = |name, value: &str| Certificates::load(&environment::of(&[(name, value)], root.path()));
    let list = format!("/nowhere:{}", folder.display());
    for certificates in [of("SSL_CERT_FILE", file.to_str().unwrap()), of("SSL_CERT_DIR", &list)] {
        shake(&certificates, "reg.example", true, server(SERVER, false)).unwrap();
    }
    let error = of("SSL_CERT_FILE", "/nowhere/ca.pem").client_config("a.example", true).unwrap_err();
    let text = "$SSL_CERT_FILE or $SSL_CERT_DIR is wrong: there are no certificates in /nowhere/ca.pem: correct or unset it";
    assert_eq!(error.to_string(), text);
}

#[test]
fn the_systems_bundle_is_trusted() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "etc/pki/tls/certs/ca-bundle.crt", AUTHORITY);
    shake(&of(root.path()), "reg.example", true, server(SERVER, false)).unwrap();
}

#[test]
fn a_folder_that_may_not_be_read_is_no_error() {
    let root = tempfile::tempdir().unwrap();
    let folder = "etc/docker/certs.d/reg.example:5000";
    write(root.path(), &format!("{folder}/a.crt"), "nothing");
    fs::set_permissions(root.path().join(folder), std::fs::Permissions::from_mode(0o000)).unwrap();
    // Root may read everything, and then sees what is wrong.
    let is_root = fs::read_dir(root.path().join(folder)).is_ok();
    assert_eq!(of(root.path()).client_config("reg.example:5000", true).is_err(), is_root);
}

#[test]
fn configurations_are_made_once() {
    let certificates = Certificates::default();
    let of = |verify| certificates.clone().client_config("a.example", verify).unwrap();
    assert!(Arc::ptr_eq(&of(true), &of(true)) && !Arc::ptr_eq(&of(true), &of(false)));
}
