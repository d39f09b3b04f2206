{{- define "ingress.labels" -}}
app.kubernetes.io/name: {{ .Values.gateway.name }}-ingress
app.kubernetes.io/part-of: reviews-parsing
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/* Every host that is answered, as a JSON list. */}}
{{- define "ingress.hosts" -}}
{{- $hosts := list (printf "api.%s" .Values.domain) }}
{{- range $name, $_ := .Values.routes }}{{ $hosts = append $hosts (printf "%s.%s" $name $.Values.domain) }}{{ end }}
{{- toJson $hosts }}
{{- end }}

{{/* Pods by namespace and labels, as a network policy's peer. */}}
{{- define "ingress.peer" -}}
- namespaceSelector:
    matchLabels: {kubernetes.io/metadata.name: {{ .namespace }}}
  podSelector:
    matchLabels: {{- toYaml .podLabels | nindent 6 }}
{{- end }}
