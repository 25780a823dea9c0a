#!/usr/bin/env bash
# Called by build.yaml: has AWS Signer sign the functions' zips, and has the templates name what it signed. Signer takes a
# version of an object, so the bucket must keep versions. It writes PREFIX and the job's id; `aws cloudformation package`
# leaves an s3:// address as it is.
set -euo pipefail
: "${BUCKET:?}" "${KEY:?}" "${SIGNING_PROFILE:?}"

for function in rotation retirement jwks; do
    folder=target/lambda/$function
    python3 -m zipfile -c "$folder.zip" "$folder/bootstrap"
    version=$(aws s3api put-object --bucket "$BUCKET" --key "unsigned/$function.zip" --body "$folder.zip" \
        --server-side-encryption aws:kms --ssekms-key-id "$KEY" --query VersionId --output text)
    job=$(aws signer start-signing-job --profile-name "$SIGNING_PROFILE" --query jobId --output text \
        --source "s3={bucketName=$BUCKET,key=unsigned/$function.zip,version=$version}" \
        --destination "s3={bucketName=$BUCKET,prefix=packaged/$function-}")
    aws signer wait successful-signing-job --job-id "$job"
    signed=$(aws signer describe-signing-job --job-id "$job" --query signedObject.s3.key --output text)
    sed -i "s|CodeUri: ../target/lambda/$function/|CodeUri: s3://$BUCKET/$signed|" infra/functions.yaml infra/edge.yaml
    echo "$function is signed: s3://$BUCKET/$signed"
done
if grep --line-number 'CodeUri: [^s]' infra/functions.yaml infra/edge.yaml; then
    echo "these are not signed: name their functions in infra/buildspecs/sign.sh"
    exit 1
fi
