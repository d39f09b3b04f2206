{{- define "reviews-parsing.labels" -}}
app.kubernetes.io/name: {{ .Values.name }}
app.kubernetes.io/part-of: reviews-parsing
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/* What KServe writes on every pod and Service of the predictor, a canary's too. */}}
{{- define "reviews-parsing.selector" -}}
serving.kserve.io/inferenceservice: {{ .Values.name }}
component: predictor
{{- end }}

{{- define "reviews-parsing.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- with .Values.image.digest }}@{{ . }}{{ end }}
{{- end }}

{{/*
How every client of MLflow that this chart starts fetches artifacts: through MLflow. A server of 3.17 with artifacts on
S3 offers addresses of the store itself, which its clients here cannot reach; no setting of the server withholds them.
*/}}
{{- define "reviews-parsing.mlflow-client" -}}
- name: MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD
  value: "false"
- name: MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD
  value: "false"
{{- end }}

{{/* Pods by namespace and labels, as a network policy's peer. */}}
{{- define "reviews-parsing.peer" -}}
- namespaceSelector:
    matchLabels: {kubernetes.io/metadata.name: {{ .namespace }}}
  podSelector:
    matchLabels: {{- toYaml .podLabels | nindent 6 }}
{{- end }}
