//! How a connection is made: always over TLS, with the server's chain and host name verified.

use native_tls::{Protocol, TlsConnector};
use postgres_native_tls::{MakeTlsConnector, set_postgresql_alpn};
use tokio_postgres::config::{LoadBalanceHosts, SslNegotiation};

use crate::deadlines;
use crate::settings::DatabaseUrl;

/// A connector that trusts the certificates in `SSL_CERT_FILE` or else the system's, and verifies the chain and the
/// host name.
///
/// # Errors
/// Those of the TLS library.
pub(super) fn tls(url: &DatabaseUrl) -> Result<MakeTlsConnector, native_tls::Error> {
    let mut builder = TlsConnector::builder();
    builder.min_protocol_version(Some(Protocol::Tlsv12));
    if url.negotiation() == SslNegotiation::Direct {
        set_postgresql_alpn(&mut builder);
    }
    Ok(MakeTlsConnector::new(builder.build()?))
}

/// The driver's configuration: that of the connection string, a bound on each address's TCP connect, and the addresses
/// in any order, so that a second attempt may meet another of them.
pub(super) fn driver_config(url: &DatabaseUrl) -> tokio_postgres::Config {
    let mut config = url.driver_config();
    config
        .connect_timeout(deadlines::ADDRESS)
        .load_balance_hosts(LoadBalanceHosts::Random);
    config
}
