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

{{/* Pods by namespace and labels, as a network policy's peer. */}}
{{- define "reviews-parsing.peer" -}}
- namespaceSelector:
    matchLabels: {kubernetes.io/metadata.name: {{ .namespace }}}
  podSelector:
    matchLabels: {{- toYaml .podLabels | nindent 6 }}
{{- end }}
