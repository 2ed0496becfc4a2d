//! Makes what the function `docs` serves: openapi.yaml as JSON, and the page that shows it, Swagger UI in one file that
//! loads nothing but that JSON. Both are compressed here, once.

use std::error::Error;
use std::io::{Cursor, Read as _, Write as _};
use std::path::Path;
use std::{env, fs};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};
use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED;
use zip::ZipArchive;
use zip::read::root_dir_common_filter;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const DOCUMENT: &str = "../openapi.yaml";
const PAGE: &str = "src/bin/docs/page.html";
const STYLE: &str = "src/bin/docs/page.css";
const SCRIPT: &str = "src/bin/docs/page.js";

fn main() -> Result<()> {
    for file in [DOCUMENT, PAGE, STYLE, SCRIPT] {
        println!("cargo::rerun-if-changed={file}");
    }
    let document: serde_json::Value = yaml_serde::from_str(&fs::read_to_string(DOCUMENT)?)?;
    write("OPENAPI", "openapi.json", document.to_string().as_bytes())?;

    let style = swagger_ui_text("dist/swagger-ui.css")? + &fs::read_to_string(STYLE)?;
    let script =
        swagger_ui_text("dist/swagger-ui-bundle.js")? + "\n" + &fs::read_to_string(SCRIPT)?;
    // What would end the script element early, or keep it from ending, stands in the script's strings and regular
    // expressions alone, where this spelling means the same.
    let script = script
        .replace("<!--", r"\x3c!--")
        .replace("<script", r"\x3cscript")
        .replace("</script", r"\x3c/script");
    let page = fs::read_to_string(PAGE)?
        .replace(
            "{{icon}}",
            &STANDARD.encode(swagger_ui("dist/favicon-32x32.png")?),
        )
        .replace("{{notice}}", swagger_ui_text("NOTICE")?.trim())
        .replace("{{style}}", &style)
        .replace("{{script}}", &script);
    write("PAGE", "page.html", page.as_bytes())?;
    let policy = [
        "default-src 'none'".to_owned(),
        format!("script-src '{}'", hash(&script)),
        format!("style-src '{}'", hash(&style)),
        "img-src data:".to_owned(),
        "connect-src 'self'".to_owned(),
        "base-uri 'none'".to_owned(),
        "form-action 'none'".to_owned(),
        "frame-ancestors 'none'".to_owned(),
    ];
    println!("cargo::rustc-env=PAGE_CSP={}", policy.join("; "));
    Ok(())
}

/// Writes a file compressed, for the function to include, and tells it the opaque text of the file's entity tag.
fn write(name: &str, file: &str, content: &[u8]) -> Result<()> {
    let path = Path::new(&env::var("OUT_DIR")?).join(format!("{file}.gz"));
    let mut encoder = GzEncoder::new(fs::File::create(path)?, Compression::best());
    encoder.write_all(content)?;
    encoder.finish()?;
    let opaque_tag = STANDARD.encode(Sha256::digest(content));
    println!("cargo::rustc-env={name}_OPAQUE_TAG={opaque_tag}");
    Ok(())
}

/// The source by which a content security policy allows this text, in the element that it stands in.
fn hash(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(text)))
}

/// A file of Swagger UI, whose release lies in a folder of its own in the archive.
fn swagger_ui(name: &str) -> Result<Vec<u8>> {
    let mut archive = ZipArchive::new(Cursor::new(SWAGGER_UI_VENDORED))?;
    let folder = archive.root_dir(root_dir_common_filter)?;
    let path = folder.ok_or("Swagger UI is not in one folder")?.join(name);
    let mut content = Vec::new();
    archive.by_path(path)?.read_to_end(&mut content)?;
    Ok(content)
}

fn swagger_ui_text(name: &str) -> Result<String> {
    Ok(String::from_utf8(swagger_ui(name)?)?)
}
