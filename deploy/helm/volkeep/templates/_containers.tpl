{{/*
What another chart includes, with the context of this one: `include "volkeep.initContainer" .Subcharts.volkeep`. All of
them are items of a list, or keys of a mapping, without indentation.
*/}}

{{/* For spec.initContainers, before all others. */}}
{{- define "volkeep.initContainer" -}}
- name: volkeep-init
  image: {{ include "volkeep.image" . }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  args: [init]
  {{- include "volkeep.environment" (dict "context" . "one" .Values.init "role" .Values.webIdentity.initRoleArn) | nindent 2 }}
  securityContext:
    {{- toYaml .Values.containerSecurityContext | nindent 4 }}
  resources:
    {{- toYaml .Values.init.resources | nindent 4 }}
  volumeMounts:
    {{- include "volkeep.mounts" (dict "context" . "one" .Values.init "keys" "volkeep-init-keys") | nindent 4 }}
{{- end }}

{{/* For spec.initContainers, right after the first; where it is not native, for spec.containers. */}}
{{- define "volkeep.sidecar" -}}
{{- if .Values.sidecar.enabled -}}
- name: volkeep-sidecar
  image: {{ include "volkeep.image" . }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  args: [sidecar]
  {{- if .Values.sidecar.native }}
  restartPolicy: Always
  {{- end }}
  {{- include "volkeep.environment" (dict "context" . "one" .Values.sidecar "role" .Values.webIdentity.sidecarRoleArn) | nindent 2 }}
    {{- if not .Values.sidecar.native }}
    # App and sidecar are told to end at the same time.
    - name: VOLKEEP_SIDECAR_BACKUP_ON_SHUTDOWN
      value: "false"
    {{- end }}
  ports:
    - name: metrics
      containerPort: 9188
  startupProbe:
    httpGet:
      path: /healthz
      port: metrics
    periodSeconds: 1
    failureThreshold: 60
  livenessProbe:
    httpGet:
      path: /healthz
      port: metrics
    periodSeconds: 20
    timeoutSeconds: 10
  securityContext:
    {{- toYaml .Values.containerSecurityContext | nindent 4 }}
  resources:
    {{- toYaml .Values.sidecar.resources | nindent 4 }}
  volumeMounts:
    {{- include "volkeep.mounts" (dict "context" . "one" .Values.sidecar "keys" "volkeep-sidecar-keys") | nindent 4 }}
{{- end -}}
{{- end }}

{{/* For spec.volumes. The volume with the data is not among them. */}}
{{- define "volkeep.volumes" -}}
{{ include "volkeep.commonVolumes" . }}
{{- include "volkeep.keys" (dict "context" . "name" "volkeep-init-keys" "one" .Values.init) }}
{{- if .Values.sidecar.enabled }}
{{- include "volkeep.keys" (dict "context" . "name" "volkeep-sidecar-keys" "one" .Values.sidecar) }}
{{- end }}
{{- end }}

{{/* For the app's volumeMounts, without mountPath: with a subPath where the layout wants it. */}}
{{- define "volkeep.appMount" -}}
name: {{ .Values.volume.name }}
{{- if eq .Values.volume.layout "subdirectory" }}
subPath: data
{{- end }}
{{- end }}

{{/* For the annotations of the pod: a new configuration makes a new pod. */}}
{{- define "volkeep.podAnnotations" -}}
{{- if not .Values.existingConfigMap -}}
checksum/volkeep: {{ include "volkeep.config" . | sha256sum }}
{{- end }}
{{- if and .Values.prometheusAnnotations .Values.sidecar.enabled }}
prometheus.io/scrape: "true"
prometheus.io/port: "9188"
{{- end }}
{{- end }}

{{- define "volkeep.environment" -}}
{{- $identity := .context.Values.webIdentity -}}
env:
  - name: POD_NAME
    valueFrom:
      fieldRef:
        fieldPath: metadata.name
  - name: VOLKEEP_LIMITS_MEMORY
    value: {{ .one.memory }}
  {{- if $identity.enabled }}
  - name: AWS_ROLE_ARN
    value: {{ required "webIdentity needs initRoleArn and sidecarRoleArn" .role }}
  - name: AWS_WEB_IDENTITY_TOKEN_FILE
    value: /run/secrets/volkeep/token
  {{- with $identity.region }}
  - name: AWS_REGION
    value: {{ . }}
  {{- end }}
  {{- end }}
  {{- with .one.env }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- define "volkeep.mounts" -}}
- name: {{ .context.Values.volume.name }}
  mountPath: /volume
- name: volkeep-config
  mountPath: /etc/volkeep
  readOnly: true
{{- if .context.Values.webIdentity.enabled }}
- name: volkeep-token
  mountPath: /run/secrets/volkeep
  readOnly: true
{{- else if .one.secretName }}
- name: {{ .keys }}
  mountPath: /run/secrets/volkeep
  readOnly: true
{{- end }}
{{- with .one.volumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "volkeep.commonVolumes" -}}
- name: volkeep-config
  configMap:
    name: {{ include "volkeep.configMapName" . }}
{{- if .Values.webIdentity.enabled }}
- name: volkeep-token
  projected:
    defaultMode: 0440
    sources:
      - serviceAccountToken:
          path: token
          audience: {{ .Values.webIdentity.audience }}
          expirationSeconds: {{ int .Values.webIdentity.expirationSeconds }}
{{- end }}
{{- end }}

{{- define "volkeep.keys" -}}
{{- if and .one.secretName (not .context.Values.webIdentity.enabled) }}
- name: {{ .name }}
  secret:
    secretName: {{ .one.secretName }}
    defaultMode: 0440
{{- end }}
{{- end }}
