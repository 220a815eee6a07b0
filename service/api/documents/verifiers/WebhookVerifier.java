import java.io.ByteArrayOutputStream;
import java.security.*;
import java.security.spec.X509EncodedKeySpec;
import java.util.*;
import java.util.function.UnaryOperator;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

/** Verifies a webhook that Posthorn sent. Java 17 or newer, standard library only. */
final class WebhookVerifier {
    /** Stands before an Ed25519 public key in DER. */
    private static final byte[] SPKI = HexFormat.of().parseHex("302a300506032b6570032100");

    /** secrets: whsec_… or whpk_…, several during a rotation. header: request::getHeader. body: as it arrived. */
    static boolean verify(List<String> secrets, UnaryOperator<String> header, byte[] body, long nowSeconds) {
        String id = Objects.requireNonNullElse(header.apply("webhook-id"), "");
        String time = Objects.requireNonNullElse(header.apply("webhook-timestamp"), "");
        String signatures = Objects.requireNonNullElse(header.apply("webhook-signature"), "");
        if (!id.matches("[A-Za-z0-9_-]{1,64}") || !time.matches("[0-9]{1,12}")) return false;
        if (Math.abs(nowSeconds - Long.parseLong(time)) > 300) return false;
        byte[] content = joined((id + "." + time + ".").getBytes(), body);
        return secrets.stream().anyMatch(secret -> Arrays.stream(signatures.split(" ")).limit(20)
            .map(part -> (part + ",").split(",", 3)).anyMatch(part -> matches(secret, part[0], part[1], content)));
    }

    private static boolean matches(String secret, String version, String text, byte[] content) {
        try {
            byte[] key = Base64.getDecoder().decode(secret.substring(secret.indexOf('_') + 1));
            if (key.length < 24) return false; // with a guessable one anybody could sign
            byte[] given = Base64.getDecoder().decode(text);
            if (secret.startsWith("whpk_") && version.equals("v1a")) {
                Signature signature = Signature.getInstance("Ed25519");
                var spki = new X509EncodedKeySpec(joined(SPKI, key));
                signature.initVerify(KeyFactory.getInstance("Ed25519").generatePublic(spki));
                signature.update(content);
                return signature.verify(given);
            }
            Mac mac = Mac.getInstance("HmacSHA256");
            mac.init(new SecretKeySpec(key, "HmacSHA256"));
            boolean isShared = secret.startsWith("whsec_") && version.equals("v1");
            return isShared && MessageDigest.isEqual(mac.doFinal(content), given); // in constant time
        } catch (GeneralSecurityException | IllegalArgumentException malformed) {
            return false;
        }
    }

    private static byte[] joined(byte[] first, byte[] second) {
        var whole = new ByteArrayOutputStream();
        whole.writeBytes(first);
        whole.writeBytes(second);
        return whole.toByteArray();
    }
}
