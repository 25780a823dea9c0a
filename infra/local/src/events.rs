//! EventBridge's default bus, as far as Secrets Manager and schedules use it.

use chrono::SecondsFormat;
use serde_json::{Value, json};

use crate::core::Context;

/// A staging label that came to a version.
#[derive(Clone, Debug)]
pub(crate) struct LabelMoved {
    pub(crate) arn: String,
    pub(crate) name: String,
    pub(crate) label: String,
    pub(crate) version: String,
}

/// The native "Secret Label Updated" event, in the shape of Secrets Manager's documentation.
pub(crate) fn secret_label_updated(cx: &mut Context<'_>, moved: &LabelMoved) -> Value {
    json!({
        "version": "0",
        "id": cx.uuid(),
        "detail-type": "Secret Label Updated",
        "source": "aws.secretsmanager",
        "account": cx.account,
        "time": cx.now.to_rfc3339_opts(SecondsFormat::Secs, true),
        "region": cx.region,
        "resources": [moved.arn],
        "detail": {
            "name": moved.name,
            "labelUpdated": moved.label,
            "versionId": moved.version,
        },
    })
}
