{{- define "heavylift.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/*
Room for what is added: KEDA takes a ScaledObject's name of 54 characters, and a pool's is up to 16 after
`-worker-`. https://github.com/kedacore/keda/pull/7762
*/}}
{{- define "heavylift.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 30 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "heavylift.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 30 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 30 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "heavylift.tag" -}}
{{- .Values.image.tag | default .Chart.AppVersion -}}
{{- end -}}

{{/* As a label has it: a tag may be longer. */}}
{{- define "heavylift.version" -}}
{{- include "heavylift.tag" . | trunc 63 | trimAll "-_." -}}
{{- end -}}

{{/* Of one of our images: (list $ "worker"). */}}
{{- define "heavylift.image" -}}
{{- $root := index . 0 -}}
{{- with $root.Values.image -}}
{{- printf "%s/%s/%s:%s" .registry .repository (index $ 1) (include "heavylift.tag" $root) | trimPrefix "/" -}}
{{- end -}}
{{- end -}}

{{/* What a Service and a policy find a component's pods by: (list $ "api"). */}}
{{- define "heavylift.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ include "heavylift.name" $root }}
app.kubernetes.io/instance: {{ $root.Release.Name | quote }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "heavylift.labels" -}}
{{- $root := index . 0 -}}
{{ include "heavylift.selector" . }}
app.kubernetes.io/version: {{ include "heavylift.version" $root | quote }}
app.kubernetes.io/part-of: heavylift
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* Ports, the same in every pod. */}}
{{- define "heavylift.signalsPort" -}}9464{{- end -}}
{{- define "heavylift.apiPort" -}}8000{{- end -}}

{{/* --- pools ----------------------------------------------------------------------------------- */}}

{{/* One pool's values over what all have, as JSON: (list $ "cpu"). */}}
{{- define "heavylift.pool" -}}
{{- $root := index . 0 -}}{{- $name := index . 1 -}}
{{- $own := index $root.Values.workers $name -}}
{{- $pool := mustMergeOverwrite (deepCopy $root.Values.workerDefaults) (deepCopy $own) -}}
{{- /* A job that is cancelled or out of time has 5 s to notice, and what it wrote has to get out. */ -}}
{{- $needed := add $pool.jobTimeout 20 -}}
{{- $grace := $pool.terminationGracePeriodSeconds | default (ternary 60 $needed $pool.interruptible) | int -}}
{{- if and (lt $grace (int $needed)) (not $pool.interruptible) -}}
{{- fail (printf "workers.%s.terminationGracePeriodSeconds: %d s end a job before its timeout (jobTimeout: %d) does: make it %d or more, or say workers.%s.interruptible" $name $grace (int $pool.jobTimeout) (int $needed) $name) -}}
{{- end -}}
{{- with $pool.autoscaling -}}
{{- if gt (int .minReplicas) (int .maxReplicas) -}}
{{- fail (printf "workers.%s.autoscaling: minReplicas (%d) is more than maxReplicas (%d)" $name (int .minReplicas) (int .maxReplicas)) -}}
{{- end -}}
{{- end -}}
{{- $_ := set $pool "terminationGracePeriodSeconds" $grace -}}
{{- toJson $pool -}}
{{- end -}}

{{/* Names of the pools, sorted, comma-separated. */}}
{{- define "heavylift.pools" -}}
{{- $names := list -}}
{{- range $name, $pool := .Values.workers -}}
{{- if not (kindIs "invalid" $pool) -}}{{- $names = append $names $name -}}{{- end -}}
{{- end -}}
{{- if not $names -}}{{- fail "workers: there is no pool; a map of pools by their names, workers.cpu at least" -}}{{- end -}}
{{- $names | sortAlpha | join "," -}}
{{- end -}}

{{/* --- secrets --------------------------------------------------------------------------------- */}}

{{- define "heavylift.authSecret" -}}
{{- .Values.auth.existingSecret | default (printf "%s-auth" (include "heavylift.fullname" .)) -}}
{{- end -}}

{{- define "heavylift.databaseSecret" -}}
{{- if .Values.postgresql.enabled -}}{{ include "heavylift.fullname" . }}-postgresql
{{- else -}}{{ .Values.postgresql.external.existingSecret | default (printf "%s-database" (include "heavylift.fullname" .)) }}
{{- end -}}
{{- end -}}

{{- define "heavylift.redisSecret" -}}
{{- if .Values.redis.enabled -}}{{ include "heavylift.fullname" . }}-redis
{{- else -}}{{ .Values.redis.external.existingSecret | default (printf "%s-broker" (include "heavylift.fullname" .)) }}
{{- end -}}
{{- end -}}

{{- define "heavylift.storageSecret" -}}
{{- if .Values.s3.enabled -}}{{ include "heavylift.fullname" . }}-s3
{{- else -}}{{ .Values.s3.external.existingSecret }}
{{- end -}}
{{- end -}}

{{- define "heavylift.mailSecret" -}}
{{- .Values.mail.existingSecret | default (printf "%s-mail" (include "heavylift.fullname" .)) -}}
{{- end -}}

{{/* Whether mails are sent. */}}
{{- define "heavylift.mail" -}}
{{- if or .Values.mail.url .Values.mail.existingSecret -}}true{{- end -}}
{{- end -}}

{{- define "heavylift.loadtestSecret" -}}
{{- .Values.loadtest.existingSecret | default (printf "%s-loadtest" (include "heavylift.fullname" .)) -}}
{{- end -}}

{{/*
A value of a Secret that this chart makes: what is there stays.
(list $ "name of the Secret" "key" "else this")
*/}}
{{- define "heavylift.kept" -}}
{{- $root := index . 0 -}}
{{- $known := (lookup "v1" "Secret" $root.Release.Namespace (index . 1)).data | default dict -}}
{{- hasKey $known (index . 2) | ternary (index $known (index . 2) | default "" | b64dec) (index . 3) -}}
{{- end -}}

{{/* One that is random at first: (list $ "name of the Secret" "key" length). */}}
{{- define "heavylift.generated" -}}
{{- $root := index . 0 -}}
{{- $memory := printf "generated %s %s" (index . 1) (index . 2) -}}
{{- if not (hasKey $root.Values $memory) -}}
{{- $_ := set $root.Values $memory (include "heavylift.kept" (list $root (index . 1) (index . 2) (randAlphaNum (index . 3 | int)))) -}}
{{- end -}}
{{- index $root.Values $memory -}}
{{- end -}}

{{- define "heavylift.signingKeys" -}}
{{- $keys := include "heavylift.generated" (list . (include "heavylift.authSecret" .) "signing-keys" 48) -}}
{{- /* A metric says how old a key is whose name begins with a date. */ -}}
{{- ternary $keys (printf "%s:%s" (now | date "2006-01-02") $keys) (contains ":" $keys) -}}
{{- end -}}

{{- define "heavylift.redisPassword" -}}
{{- include "heavylift.generated" (list . (include "heavylift.redisSecret" .) "password" 32) -}}
{{- end -}}

{{/* Of what processes read once: another one starts them anew. */}}
{{- define "heavylift.checksum.auth" -}}
{{- if and .Values.secrets.make (not .Values.auth.existingSecret) -}}{{ include "heavylift.signingKeys" . | sha256sum | trunc 16 }}
{{- else -}}{{ include "heavylift.checksum.known" (list . (include "heavylift.authSecret" .)) }}
{{- end -}}
{{- end -}}

{{- define "heavylift.checksum.redis" -}}
{{- if and .Values.secrets.make .Values.redis.enabled -}}{{ include "heavylift.redisPassword" . | sha256sum | trunc 16 }}
{{- else if and .Values.redis.external.url (not .Values.redis.external.existingSecret) -}}{{ .Values.redis.external.url | sha256sum | trunc 16 }}
{{- else -}}{{ include "heavylift.checksum.known" (list . (include "heavylift.redisSecret" .)) }}
{{- end -}}
{{- end -}}

{{- define "heavylift.checksum.storage" -}}
{{- if and .Values.secrets.make .Values.s3.enabled -}}
{{- include "heavylift.generated" (list . (include "heavylift.storageSecret" .) "secret-key" 40) | sha256sum | trunc 16 -}}
{{- else if or .Values.s3.enabled .Values.s3.external.existingSecret -}}
{{- include "heavylift.checksum.known" (list . (include "heavylift.storageSecret" .)) -}}
{{- else -}}none
{{- end -}}
{{- end -}}

{{- define "heavylift.checksum.mail" -}}
{{- if .Values.mail.existingSecret -}}{{ include "heavylift.checksum.known" (list . .Values.mail.existingSecret) }}
{{- else -}}{{ .Values.mail.url | sha256sum | trunc 16 }}
{{- end -}}
{{- end -}}

{{- define "heavylift.checksum.known" -}}
{{- $root := index . 0 -}}
{{- (lookup "v1" "Secret" $root.Release.Namespace (index . 1)).data | default dict | toJson | sha256sum | trunc 16 -}}
{{- end -}}

{{/* --- variables ------------------------------------------------------------------------------- */}}

{{- define "heavylift.storageUrl" -}}
{{- if .Values.s3.enabled -}}s3://heavylift/files
{{- else -}}{{ required "s3.external.url: say where files go (s3://bucket/prefix), or leave s3.enabled" .Values.s3.external.url }}
{{- end -}}
{{- end -}}

{{/* `settings` of all, with a component's own over them, as JSON: (list $ component's values). */}}
{{- define "heavylift.given" -}}
{{- $root := index . 0 -}}
{{- mustMergeOverwrite (deepCopy ($root.Values.settings | default dict)) (deepCopy ((index . 1).settings | default dict)) | toJson -}}
{{- end -}}

{{/* HEAVYLIFT_* of a component as a map in JSON: the chart's, then everybody's, then its own. */}}
{{- define "heavylift.settings" -}}
{{- $root := index . 0 -}}{{- $own := index . 1 -}}{{- $chart := index . 2 -}}
{{- $given := include "heavylift.given" (list $root $own) | fromJson -}}
{{- range $name, $_ := $given -}}
{{- if or (hasKey $chart $name) (regexMatch "^HEAVYLIFT_(DATABASE_(DIRECT_)?URL|REDIS_URL|STORAGE_URL|MAIL_URL|AUTH_SIGNING_KEYS)(_FILE)?$" $name) -}}
{{- fail (printf "settings.%s: the chart sets it itself, from values that say so: see `helm show values`" $name) -}}
{{- end -}}
{{- end -}}
{{- toJson (mustMergeOverwrite $given $chart) -}}
{{- end -}}

{{/* Of a setting, quoted; a whole number is one, however large. */}}
{{- define "heavylift.text" -}}
{{- if and (kindIs "float64" .) (eq (float64 .) (floor .)) -}}{{ int64 . | quote }}{{- else -}}{{ . | toString | quote }}{{- end -}}
{{- end -}}

{{/* Of a container's `env`, what the chart says: (list $ component's values, its settings). */}}
{{- define "heavylift.env" -}}
{{- $root := index . 0 -}}
{{- range $name, $value := include "heavylift.settings" . | fromJson }}
- name: {{ $name }}
  value: {{ include "heavylift.text" $value }}
{{- end }}
{{- if $root.Values.telemetry.otlpEndpoint }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ $root.Values.telemetry.otlpEndpoint | quote }}
- name: OTEL_TRACES_SAMPLER
  value: parentbased_traceidratio
- name: OTEL_TRACES_SAMPLER_ARG
  value: {{ $root.Values.telemetry.samplingRatio | quote }}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: OTEL_RESOURCE_ATTRIBUTES
  value: k8s.namespace.name={{ $root.Release.Namespace }},k8s.pod.name=$(POD_NAME)
{{- end }}
{{- end -}}
