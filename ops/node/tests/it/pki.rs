//! Certificates of gateways' owners.

use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

/// The retailer's own CA, of which the node knows nothing.
pub struct Pki {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
}

/// A certificate and its key, as PEM.
pub struct Made {
    pub certificate: String,
    pub key: String,
}

impl Pki {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    pub fn make(&self, name: &str) -> Made {
        self.make_for(&KeyPair::generate().unwrap(), name, Duration::from_secs(3600))
    }

    /// One that ends so long from now.
    pub fn make_for(&self, key: &KeyPair, name: &str, ends_in: Duration) -> Made {
        self.signed(key, name, |params| params.not_after = (SystemTime::now() + ends_in).into())
    }

    /// One of which the owner was far ahead: it begins so long from now.
    pub fn make_ahead(&self, name: &str, begins_in: Duration) -> Made {
        let begins = SystemTime::now() + begins_in;
        self.signed(&KeyPair::generate().unwrap(), name, |params| {
            params.not_before = begins.into();
            params.not_after = (begins + Duration::from_secs(3600)).into();
        })
    }

    fn signed(&self, key: &KeyPair, name: &str, lasting: impl FnOnce(&mut CertificateParams)) -> Made {
        let mut params = CertificateParams::new(vec![format!("{name}.store.example")]).unwrap();
        lasting(&mut params);
        Made { certificate: params.signed_by(key, &self.issuer).unwrap().pem(), key: key.serialize_pem() }
    }
}
