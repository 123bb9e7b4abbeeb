{{/*
The template of every pod, `metadata` and `spec`:

  root        $
  component   its label
  values      the component's: resources, placement, podAnnotations, podLabels
  container   image, and if wanted command, args, ports, probes, volumeMounts, envFrom
  env         YAML of more variables
  uses        of database, redis, storage, auth, mail: their Secrets are files, read anew by who can
  settings    HEAVYLIFT_* that the chart sets itself; without, it is none of our processes
  readOnce    of redis, auth, storage, mail: a change of those Secrets starts the pods anew
  volumes, grace, restartPolicy, uid, serviceAccount, token, spread, metrics, tmp, containerName
*/}}
{{- define "heavylift.pod" -}}
{{- $root := .root -}}{{- $values := .values -}}{{- $container := .container -}}
{{- $uses := .uses | default list -}}{{- $uid := .uid | default 10001 -}}
metadata:
  labels:
    {{- include "heavylift.selector" (list $root .component) | nindent 4 }}
    {{- if not .uid }}
    {{- /* Ours: a bundled server does not start anew for each of our versions. */}}
    app.kubernetes.io/version: {{ include "heavylift.version" $root | quote }}
    {{- end }}
    {{- with $values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    kubectl.kubernetes.io/default-container: {{ .containerName | default .component }}
    {{- range .readOnce }}
    checksum/{{ . }}: {{ include (printf "heavylift.checksum.%s" .) $root | quote }}
    {{- end }}
    {{- if and $root.Values.monitoring.annotations .metrics }}
    prometheus.io/scrape: "true"
    prometheus.io/port: {{ include "heavylift.signalsPort" $root | quote }}
    prometheus.io/path: /metrics
    {{- end }}
    {{- with $values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  {{- with $root.Values.image.pullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . | quote }}
    {{- end }}
  {{- end }}
  serviceAccountName: {{ .serviceAccount | default (include "heavylift.fullname" $root) }}
  automountServiceAccountToken: {{ .token | default false }}
  enableServiceLinks: false
  {{- with .restartPolicy }}
  restartPolicy: {{ . }}
  {{- end }}
  {{- with .grace }}
  terminationGracePeriodSeconds: {{ . }}
  {{- end }}
  securityContext:
    runAsNonRoot: true
    runAsUser: {{ $uid }}
    runAsGroup: {{ $uid }}
    fsGroup: {{ $uid }}
    fsGroupChangePolicy: OnRootMismatch
    seccompProfile: {type: RuntimeDefault}
  {{- with $values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with $values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if $values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- toYaml $values.topologySpreadConstraints | nindent 4 }}
  {{- else if .spread }}
  topologySpreadConstraints:
    {{- range $key := list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
    - maxSkew: 1
      topologyKey: {{ $key }}
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "heavylift.selector" (list $root $.component) | nindent 10 }}
    {{- end }}
  {{- end }}
  containers:
    - name: {{ .containerName | default .component }}
      image: {{ $container.image }}
      imagePullPolicy: {{ $root.Values.image.pullPolicy }}
      {{- with $container.command }}
      command: {{ toJson . }}
      {{- end }}
      {{- with $container.args }}
      args: {{ toJson . }}
      {{- end }}
      {{- with $container.envFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- $env := list -}}
      {{- if hasKey . "settings" -}}
      {{- $env = append $env (include "heavylift.env" (list $root $values .settings)) -}}
      {{- end -}}
      {{- range $uses -}}
      {{- $env = append $env (include (printf "heavylift.env.%s" .) $root) -}}
      {{- end -}}
      {{- $env = append $env (.env | default "") -}}
      {{- $given := list -}}
      {{- if hasKey . "settings" -}}{{- $given = $root.Values.env | default list -}}{{- end -}}
      {{- /* Each name once, for Helm 4 takes no second; the last says what it is. */ -}}
      {{- $variables := dict -}}{{- $names := list -}}
      {{- range concat ($env | join "\n" | fromYamlArray) $given ($values.env | default list) -}}
      {{- $_ := set $variables .name . -}}{{- $names = append $names .name -}}
      {{- end }}
      {{- with $names | uniq }}
      env:
        {{- range . }}
        {{- index $variables . | list | toYaml | nindent 8 }}
        {{- end }}
      {{- end }}
      {{- with $container.ports }}
      ports:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $container.probes }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
      resources:
        {{- toYaml $values.resources | nindent 8 }}
      securityContext:
        allowPrivilegeEscalation: false
        readOnlyRootFilesystem: true
        capabilities: {drop: [ALL]}
      volumeMounts:
        - {name: tmp, mountPath: /tmp}
        {{- range $uses }}
        {{- if ne . "storage" }}
        - {name: {{ . }}, mountPath: /run/secrets/heavylift/{{ . }}, readOnly: true}
        {{- end }}
        {{- end }}
        {{- with $container.volumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - name: tmp
      emptyDir: {{ dict "sizeLimit" (.tmp | default "256Mi") | toJson }}
    {{- range $uses }}
    {{- if ne . "storage" }}
    - name: {{ . }}
      secret:
        secretName: {{ include (printf "heavylift.%sSecret" .) $root | quote }}
        defaultMode: 0440
        items:
          {{- include (printf "heavylift.files.%s" .) $root | nindent 10 }}
    {{- end }}
    {{- end }}
    {{- with .volumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{/* --- the Secrets' files, and the variables that name them ----------------------------------------- */}}

{{- define "heavylift.files.database" -}}
{{- $own := and (not .Values.postgresql.enabled) .Values.postgresql.external.existingSecret -}}
- {key: {{ if $own }}{{ .Values.postgresql.external.urlKey }}{{ else }}url{{ end }}, path: url}
{{- if and $own .Values.postgresql.external.directUrlKey }}
- {key: {{ .Values.postgresql.external.directUrlKey }}, path: direct-url}
{{- end }}
{{- end -}}

{{- define "heavylift.env.database" -}}
- name: HEAVYLIFT_DATABASE_URL_FILE
  value: /run/secrets/heavylift/database/url
{{- with .Values.postgresql }}
{{- if and (not .enabled) .external.existingSecret .external.directUrlKey }}
- name: HEAVYLIFT_DATABASE_DIRECT_URL_FILE
  value: /run/secrets/heavylift/database/direct-url
{{- end }}
{{- end }}
{{- end -}}

{{- define "heavylift.files.redis" -}}
{{- $own := and (not .Values.redis.enabled) .Values.redis.external.existingSecret -}}
- {key: {{ if $own }}{{ .Values.redis.external.urlKey }}{{ else }}url{{ end }}, path: url}
{{- end -}}

{{- define "heavylift.env.redis" -}}
- name: HEAVYLIFT_REDIS_URL_FILE
  value: /run/secrets/heavylift/redis/url
{{- end -}}

{{- define "heavylift.files.auth" -}}
- {key: signing-keys, path: signing-keys}
{{- end -}}

{{- define "heavylift.env.auth" -}}
- name: HEAVYLIFT_AUTH_SIGNING_KEYS_FILE
  value: /run/secrets/heavylift/auth/signing-keys
{{- end -}}

{{- define "heavylift.files.mail" -}}
- {key: {{ if .Values.mail.existingSecret }}{{ .Values.mail.urlKey }}{{ else }}url{{ end }}, path: url}
{{- end -}}

{{- define "heavylift.env.mail" -}}
- name: HEAVYLIFT_MAIL_URL_FILE
  value: /run/secrets/heavylift/mail/url
{{- end -}}

{{- define "heavylift.env.storage" -}}
- name: HEAVYLIFT_STORAGE_URL
  value: {{ include "heavylift.storageUrl" . }}
{{- if .Values.s3.enabled }}
- name: AWS_ENDPOINT
  value: http://{{ include "heavylift.fullname" . }}-s3:7070
- name: AWS_ALLOW_HTTP
  value: "true"
- name: AWS_REGION
  value: us-east-1
{{- range $variable, $key := dict "AWS_ACCESS_KEY_ID" "access-key" "AWS_SECRET_ACCESS_KEY" "secret-key" }}
- name: {{ $variable }}
  valueFrom: {secretKeyRef: {name: {{ include "heavylift.storageSecret" $ | quote }}, key: {{ $key }}}}
{{- end }}
{{- end }}
{{- end -}}

{{- define "heavylift.storageEnvFrom" -}}
{{- if and (not .Values.s3.enabled) .Values.s3.external.existingSecret -}}
- secretRef: {name: {{ .Values.s3.external.existingSecret | quote }}}
{{- end -}}
{{- end -}}

{{/* --- what all of our processes have ---------------------------------------------------------------- */}}

{{/* Of workers and controllers, on the port of the signals: they say it of themselves. */}}
{{- define "heavylift.ownProbes" -}}
startupProbe:
  httpGet: {path: /livez, port: signals}
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /livez, port: signals}
  periodSeconds: 15
  timeoutSeconds: 5
  failureThreshold: 3
readinessProbe:
  httpGet: {path: /readyz, port: signals}
  periodSeconds: 5
  timeoutSeconds: 5
{{- end -}}

{{- define "heavylift.production" -}}
{{- dict "HEAVYLIFT_ENVIRONMENT" "production" "HEAVYLIFT_JOBS_POOLS" (include "heavylift.pools" .) "HEAVYLIFT_SIGNALS_PORT" (include "heavylift.signalsPort" . | int) | toJson -}}
{{- end -}}
