//! Error answers: sabre's XML with the exception names of FACTS 12.

use std::fmt;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use quick_xml::escape::escape;

use crate::locks::Locked;
use crate::path::FilePath;
use crate::tree::Missing;

/// Why a WebDAV request was refused.
#[derive(Debug)]
pub(crate) struct DavError {
    status: StatusCode,
    exception: &'static str,
    message: String,
    /// `s:header` of a failed precondition.
    about: Option<&'static str>,
    /// `InvalidPath` says that a retry is of no use, and why.
    refused_name: bool,
    headers: Vec<(HeaderName, String)>,
}

impl DavError {
    fn new(status: StatusCode, exception: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            exception,
            message: message.into(),
            about: None,
            refused_name: false,
            headers: Vec::new(),
        }
    }

    pub(crate) fn with_header(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "Sabre\\DAV\\Exception\\BadRequest", message)
    }

    pub(crate) fn invalid_path(reason: String) -> Self {
        let mut error = Self::new(
            StatusCode::BAD_REQUEST,
            "OCA\\DAV\\Connector\\Sabre\\Exception\\InvalidPath",
            reason,
        );
        error.refused_name = true;
        error
    }

    pub(crate) fn not_authenticated(message: impl Into<String>, challenge: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Sabre\\DAV\\Exception\\NotAuthenticated", message)
            .with_header(header::WWW_AUTHENTICATE, challenge)
    }

    pub(crate) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "Sabre\\DAV\\Exception\\Forbidden", message)
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "Sabre\\DAV\\Exception\\NotFound", message)
    }

    pub(crate) fn exists_already() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "Sabre\\DAV\\Exception\\MethodNotAllowed",
            "The resource you tried to create already exists",
        )
        .with_header(header::ALLOW, crate::dav::ALLOWED)
    }

    pub(crate) fn conflict(message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "Sabre\\DAV\\Exception\\Conflict", message)
    }

    pub(crate) fn precondition(header: &'static str, message: impl Into<String>) -> Self {
        let mut error = Self::new(
            StatusCode::PRECONDITION_FAILED,
            "Sabre\\DAV\\Exception\\PreconditionFailed",
            message,
        );
        error.about = Some(header);
        error
    }

    pub(crate) fn unsupported_media_type(message: impl Into<String>) -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "Sabre\\DAV\\Exception\\UnsupportedMediaType",
            message,
        )
    }

    pub(crate) fn report_not_supported(message: impl Into<String>) -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "Sabre\\DAV\\Exception\\ReportNotSupported",
            message,
        )
    }

    pub(crate) fn range(message: impl Into<String>) -> Self {
        Self::new(
            StatusCode::RANGE_NOT_SATISFIABLE,
            "Sabre\\DAV\\Exception\\RequestedRangeNotSatisfiable",
            message,
        )
    }

    pub(crate) fn not_implemented(method: &str) -> Self {
        Self::new(
            StatusCode::NOT_IMPLEMENTED,
            "Sabre\\DAV\\Exception\\NotImplemented",
            format!(
                "There was no plugin in the system that was willing to handle this {method} method."
            ),
        )
    }

    pub(crate) fn maintenance() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "OCA\\DAV\\Exception\\ServerMaintenanceMode",
            "System is in maintenance mode.",
        )
    }

    pub(crate) fn insufficient_storage(path: &FilePath, required: u64, available: u64) -> Self {
        Self::new(
            StatusCode::INSUFFICIENT_STORAGE,
            "Sabre\\DAV\\Exception\\InsufficientStorage",
            format!(
                "Insufficient space in {}, {required} required, {available} available",
                if path.is_root() { "/".to_owned() } else { path.to_string() }
            ),
        )
    }

    /// What PHP throws past sabre; `exception` is the class.
    pub(crate) fn internal(exception: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, exception, message)
    }

    /// MOVE lets the lock's own exception through (FACTS 0.6).
    pub(crate) fn locked_exception(locked: &Locked) -> Self {
        Self::internal("OCP\\Lock\\LockedException", locked.message())
    }
}

impl DavError {
    /// The nearest kind of I/O error, for those who ask through the handle.
    pub(crate) fn kind(&self) -> std::io::ErrorKind {
        use std::io::ErrorKind;
        match self.status {
            StatusCode::NOT_FOUND => ErrorKind::NotFound,
            StatusCode::FORBIDDEN => ErrorKind::PermissionDenied,
            StatusCode::LOCKED => ErrorKind::WouldBlock,
            StatusCode::METHOD_NOT_ALLOWED => ErrorKind::AlreadyExists,
            StatusCode::INSUFFICIENT_STORAGE => ErrorKind::QuotaExceeded,
            StatusCode::BAD_REQUEST => ErrorKind::InvalidFilename,
            _ if self.exception.ends_with("LockedException") => ErrorKind::WouldBlock,
            _ => ErrorKind::Other,
        }
    }
}

impl From<Locked> for DavError {
    fn from(locked: Locked) -> Self {
        Self::new(
            StatusCode::LOCKED,
            "OCA\\DAV\\Connector\\Sabre\\Exception\\FileLocked",
            locked.message(),
        )
    }
}

impl From<Missing> for DavError {
    fn from(missing: Missing) -> Self {
        match missing {
            Missing::At(path) => {
                Self::not_found(format!("File with name {path} could not be located"))
            }
            Missing::BelowFile(file) => {
                Self::not_found(format!("Node with name '{}' could not be found", file.name()))
            }
        }
    }
}

impl From<std::io::Error> for DavError {
    fn from(error: std::io::Error) -> Self {
        tracing::warn!(%error, "the data directory failed");
        Self::internal("OCP\\Files\\GenericFileException", error.to_string())
    }
}

impl fmt::Display for DavError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status.as_u16(), self.message)
    }
}

impl std::error::Error for DavError {}

impl IntoResponse for DavError {
    fn into_response(self) -> Response<Body> {
        let message = escape(self.message.as_str());
        let mut xml = format!(
            "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n\
             <d:error xmlns:d=\"DAV:\" xmlns:s=\"http://sabredav.org/ns\">\n  \
             <s:exception>{}</s:exception>\n  <s:message>{message}</s:message>\n",
            self.exception
        );
        if let Some(header) = self.about {
            xml.push_str(&format!("  <s:header>{header}</s:header>\n"));
        }
        if self.refused_name {
            xml.push_str(&format!(
                "  <o:retry xmlns:o=\"o:\">false</o:retry>\n  \
                 <o:reason xmlns:o=\"o:\">{message}</o:reason>\n"
            ));
        }
        if self.exception.ends_with("ReportNotSupported") {
            xml.push_str("  <d:supported-report/>\n");
        }
        xml.push_str("</d:error>\n");
        let mut response = Response::new(Body::from(xml));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/xml; charset=utf-8"),
        );
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        }
        response
    }
}

/// The HTML page of nginx, for what never reaches PHP.
pub(crate) fn nginx_page(status: StatusCode) -> Response<Body> {
    let title = format!("{} {}", status.as_u16(), status.canonical_reason().unwrap_or_default());
    let page = format!(
        "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n\
         <hr><center>nginx/1.22.1</center>\r\n</body>\r\n</html>\r\n"
    );
    (status, [(header::CONTENT_TYPE, "text/html")], page).into_response()
}
